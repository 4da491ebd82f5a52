"""How files store reflectance, what users state of it, what readers give."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

COUNTS = 10_000.0  # Encoders read reflectance x 10,000.
# Of reflectance, in products of Sentinel-2 since processing baseline 04.00.
BASELINE_OFFSET = -0.1
# No reflectance is as large: such an offset is one of stored values.
_OFFSET_OF_VALUES = 10


@dataclasses.dataclass(frozen=True)
class Encoding:
  """How a file stores reflectance.

  Attributes:
    scale: factor of a value in its reflectance, value * scale + offset.
    offset: reflectance of the value 0.
    nodata: values that mean "missing"; NaN and infinity always do.
    valid: smallest and largest stored value that is a measurement, or None.
    empty: what a stored 0 becomes where 0 means "missing".
    grey: whether the values are bytes, and nothing tells their scale.
    offset_known: whether the user or the file tells the offset, so that no
      further one is to be looked for.
  """

  scale: float = 1 / COUNTS
  offset: float = 0.0
  nodata: tuple[float, ...] = ()
  valid: tuple[float, float] | None = None
  empty: float = np.nan
  grey: bool = False
  offset_known: bool = False

  def decode(self, values: np.ndarray) -> np.ndarray:
    """Returns values [...] as float32 reflectance x 10,000, NaN = missing."""
    known = np.isfinite(values)
    if self.nodata:
      known &= ~np.isin(values, self.nodata)
    if self.valid:
      known &= (values >= self.valid[0]) & (values <= self.valid[1])
    counts = values.astype(np.float32)
    if (self.scale, self.offset) != (1 / COUNTS, 0):
      counts = counts * np.float32(self.scale * COUNTS)
      counts += np.float32(self.offset * COUNTS)
    missing: Any = np.float32(np.nan)
    if 0 in self.nodata:
      missing = np.where(values == 0, np.float32(self.empty), missing)
    return np.where(known, counts, missing)

  def stored(self, counts: float) -> float:
    """Returns the stored value of a reflectance x 10,000."""
    return round((counts / COUNTS - self.offset) / self.scale, 6)


@dataclasses.dataclass(frozen=True)
class Declared:
  """What the user states about imagery; '' and None leave it to the file.

  Attributes:
    scale: factor of a value in its reflectance. Default: as the file
      declares, else 0.0001.
    offset: reflectance of the value 0. Default: as the file declares, else 0.
      Products since January 2022 that still carry the offset of their
      processing baseline have -0.1. A number beyond 10 is one of stored values:
      -1000 is the same offset.
    nodata: the value that means "missing", whatever the file declares.
      Default: as the file declares, else 0 for integers, as in the products
      themselves.
    months: month 1 .. 12 of each step, for files without dates.
    start: 'YYYY-MM', the first of the twelve months, for longer series.
    crs: coordinate system for files without one, such as 'EPSG:32631'.
    hosts: hosts that the assets of STAC items may be fetched from, with their
      subdomains; names of buckets for s3:// and gs://.
    empty: what a stored 0 becomes where 0 means "missing", reflectance x
      10,000: NaN, or 0 for what is stored as integers again.
  """

  scale: float | None = None
  offset: float | None = None
  nodata: float | None = None
  months: tuple[int, ...] = ()
  start: str = ''
  crs: str = ''
  hosts: tuple[str, ...] = ()
  empty: float = np.nan

  def encoding(
    self,
    dtype: Any,
    scale: float | None = None,
    offset: float | None = None,
    nodata: Sequence[float] = (),
    valid: tuple[float, float] | None = None,
    offset_known: bool = False,
  ) -> Encoding:
    """Returns the encoding of values of a type in a file.

    A declared scale of 1 with offset 0 counts as no declaration, because files
    without one report these values.

    Args:
      dtype: type of the values.
      scale: scale that the file declares, or None.
      offset: offset that the file declares, or None.
      nodata: values that the file declares to mean "missing".
      valid: smallest and largest valid value that the file declares, or None.
      offset_known: whether an offset of 0 is told, not merely left out.

    Raises:
      ValueError: for an offset without a scale.
    """
    silent = (scale, offset or 0.0) in ((1.0, 0.0), (None, 0.0))
    if silent:
      scale, offset = 1 / COUNTS, 0.0
    grey = silent and self.scale is None and np.dtype(dtype) == np.uint8
    scale = scale if self.scale is None else self.scale
    offset = (offset or 0.0) if self.offset is None else self.offset
    if abs(offset) >= _OFFSET_OF_VALUES:
      scale = 1 / COUNTS if scale in (None, 1.0) else scale
      offset *= scale
    if scale is None:
      raise ValueError(
        f'The offset (add_offset) {offset} is declared without a scale '
        '(scale_factor); state how reflectance is stored, such as --scale '
        '0.0001.'
      )
    if self.nodata is not None:
      nodata = (self.nodata,)
    elif not nodata and np.dtype(dtype).kind in 'iu':
      nodata = (0,)
    return Encoding(
      float(scale),
      float(offset),
      tuple(float(value) for value in nodata if not np.isnan(value)),
      valid,
      self.empty,
      grey,
      offset_known or bool(offset) or self.offset is not None,
    )


class Source(Protocol):
  """The interface of the reader of a format.

  Attributes:
    name: name of the files, for messages.
    shape: rows and columns, north up.
    crs: coordinate system, as rasterio has it.
    transform: affine map from the corner of a pixel to its coordinates.
    bands: names of the bands in the files, 'SCL' included.
    dates: [S] datetime64[D] of the acquisitions; NaT where unknown.
    times: [S] datetime64[s] of the acquisitions in UTC; NaT where only the
      date is known.
    chunk: (rows, columns) that are stored together.
  """

  name: str
  shape: tuple[int, int]
  crs: Any
  transform: Any
  bands: tuple[str, ...]
  dates: np.ndarray
  times: np.ndarray
  chunk: tuple[int, int]

  def read(self, band: str, rows: slice, columns: slice) -> np.ndarray:
    """Reads a window of a band, [S, Y, X].

    Args:
      band: name of the band, or 'SCL'.
      rows: slice of rows.
      columns: slice of columns.

    Returns:
      float32 reflectance x 10,000, or classes of 'SCL'.
    """
    ...

  def encoding_of(self, band: str) -> Encoding:
    """Returns how the first file with a band stores it.

    Args:
      band: name of the band.
    """
    ...
