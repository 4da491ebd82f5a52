"""One acquisition of Sentinel-2 as an image, from any form of imagery."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
import rasterio.warp
from absl import logging

from fusion_jax import geo, modalities
from fusion_jax.data import bands as bands_lib
from fusion_jax.data import reflectance
from fusion_jax.data.sources.imagery import encoding, open_source
from fusion_jax.untrusted.reading import reading

NAMES = ('S2L2A', 'S2L1C')  # Images that are read as reflectance.
_FEW_HIDDEN = 0.01  # Share of pixels without a value that become 0.


@dataclasses.dataclass(frozen=True)
class OpenScene:
  """An acquisition whose pixels can be read.

  Attributes:
    title: name of the files, for messages.
    name: 'S2L2A' or 'S2L1C'.
    source: reader of the bands.
    step: number of the acquisition among those of the source.
  """

  title: str
  name: str
  source: encoding.Source
  step: int

  @property
  def bands(self) -> tuple[str, ...]:
    """Names of the bands in the order of the image."""
    return modalities.IMAGE_FIELDS[self.name].bands

  @property
  def time(self) -> np.datetime64:
    """Time of the acquisition in UTC, datetime64[s]; NaT if unknown."""
    return self.source.times[self.step]

  def read(
    self,
    rows: slice | None = None,
    columns: slice | None = None,
    remedies: reflectance.Remedies = reflectance.SCENE,
  ) -> np.ndarray:
    """Reads a window of the image.

    Args:
      rows: slice of rows; None for all.
      columns: slice of columns; None for all.
      remedies: what helps against values that are no reflectance.

    Returns:
      [Y, X, C] int16, reflectance x 10,000; 0 where a file stores 0 and means
      "missing" by it, and in the few pixels that are masked or NaN. What is
      too bright for int16 becomes its largest number.

    Raises:
      ValueError: if more than a few pixels are masked or NaN, or brighter than
        int16 can hold, or the values are no reflectance.
    """
    rows = rows or slice(0, self.source.shape[0])
    columns = columns or slice(0, self.source.shape[1])
    counts = np.stack(
      [
        self.source.read(bands_lib.short(band), rows, columns)[self.step]
        for band in self.bands
      ],
      axis=-1,
    )
    title = str(self.title)
    counts = _filled(counts, title, rows.start, columns.start)
    code = self.source.encoding_of(bands_lib.short(self.bands[0]))
    if code.grey:
      reflectance.refuse_grey(counts.max(initial=0), title, remedies)
    counts = _clipped(counts, title)
    reflectance.check_values(counts, title, remedies, stored=code.stored)
    counts = np.rint(counts)
    check_range(counts, np.int16, title)
    return counts.astype(np.int16)

  @property
  def offset_known(self) -> bool:
    """Whether the user or the files tell the offset of the values."""
    band = bands_lib.short(self.bands[0])
    return self.source.encoding_of(band).offset_known

  def centre(self) -> tuple[float, float]:
    """Returns latitude and longitude of the centre in degrees."""
    transform, (height, width) = self.source.transform, self.source.shape
    x = transform.c + transform.a * width / 2
    y = transform.f + transform.e * height / 2
    lons, lats = self._degrees([x], [y])
    return lats[0], float(geo.wrap_longitude(lons[0]))

  def pixel_m(self) -> tuple[float, float]:
    """Returns width and height of the pixel at the centre on the ground, m."""
    transform, (height, width) = self.source.transform, self.source.shape
    x = transform.c + transform.a * width / 2
    y = transform.f + transform.e * height / 2
    lons, lats = self._degrees([x, x + transform.a, x], [y, y, y + transform.e])
    metres = 1000 * geo.distance_km(lats[0], lons[0], lats[1:], lons[1:])
    return float(metres[0]), float(metres[1])

  def _degrees(
    self, x: list[float], y: list[float]
  ) -> tuple[list[float], list[float]]:
    """Returns longitudes and latitudes of coordinates of the scene."""
    with reading(self.title, 'scene', 'set its coordinate system'):
      return rasterio.warp.transform(self.source.crs, 'EPSG:4326', x, y)[:2]


def open_scene(
  path: str | os.PathLike[str] | Any,
  name: str,
  declared: encoding.Declared,
  day: np.datetime64 | None = None,
) -> OpenScene:
  """Opens an acquisition.

  Args:
    path: raster, folder of rasters (product `*.SAFE`, patch of BigEarthNet),
      STAC item, Zarr store, NetCDF file or xarray object.
    name: 'S2L2A' or 'S2L1C'.
    declared: what the user states about the files.
    day: date of the acquisition, needed where there are several.

  Raises:
    FileNotFoundError: if there is no such path.
    ValueError: if bands are missing, it is of another product, or it holds
      several acquisitions and none of the day.
  """
  bands = [
    bands_lib.short(band) for band in modalities.IMAGE_FIELDS[name].bands
  ]
  source = open_source.open_source(
    [path], declared, expected=bands, extra='geo'
  )
  title = source.name
  _check_product(path, title, name)
  if missing := [band for band in bands if band not in source.bands]:
    raise ValueError(
      f'{title} lacks the bands {missing}; it has {list(source.bands)}. '
      f'Expected are {", ".join(bands)}.'
    )
  return OpenScene(title, name, source, _step(source, day))


def check_range(
  values: np.ndarray, dtype: Any, path: str | os.PathLike[str]
) -> None:
  """Checks that integers of a type can hold values.

  Args:
    values: values [...] of a file.
    dtype: data type that will hold them; any values fit into floats.
    path: path of the file, for messages.

  Raises:
    ValueError: if a value is outside the range of the type.
  """
  if np.dtype(dtype).kind == 'f' or not values.size:
    return
  info, low, high = np.iinfo(dtype), values.min(), values.max()
  if not (info.min <= low and high <= info.max):  # NaN is refused, too.
    raise ValueError(
      f'{path} holds {low:g} .. {high:g}, more than an {info.dtype} '
      f'can: {info.min} .. {info.max}.'
    )


def _filled(counts, title, row, column):
  """Returns counts [Y, X, C] with 0 where a few pixels have no value.

  Raises:
    ValueError: if these are more; `row` and `column` are those of the first
      pixel in the file.
  """
  missing = np.isnan(counts)
  hidden = missing.any(axis=-1)
  if not hidden.any():
    return counts
  first, second = (int(i[0]) for i in np.nonzero(hidden))
  share = hidden.mean()
  message = (
    f'{title} masks {share:.{1 if share > _FEW_HIDDEN else 2}%} of its pixels, '
    'which have no value (a mask, the declared nodata value, or not finite); '
    f'the first is in row {row + first}, column {column + second}.'
  )
  if share > _FEW_HIDDEN:
    raise ValueError(f'{message} Fill or crop them.')
  logging.warning('%s They become 0, taken for dark ground.', message)
  return np.where(missing, np.float32(0), counts)


def _clipped(counts, title):
  """Returns counts [Y, X, C] without the few that int16 cannot hold."""
  top = np.iinfo(np.int16).max
  bright = (counts > top).any(axis=-1)
  if 0 < bright.mean() <= reflectance.FEW:
    logging.warning(
      '%s has reflectance up to %.3g in %.2g %% of its pixels (glint, fire, '
      'saturation), which becomes %.3g.',
      title,
      counts.max() / reflectance.COUNTS,
      100 * bright.mean(),
      top / reflectance.COUNTS,
    )
    return np.minimum(counts, np.float32(top))
  return counts


def _step(source, day):
  """Returns the number of the acquisition of a day, or of the only one."""
  if len(source.dates) == 1:
    return 0
  steps = np.flatnonzero(source.dates == day) if day is not None else []
  if len(steps) != 1:
    dates = ', '.join(map(str, source.dates[:6]))
    raise ValueError(
      f'{source.name} holds {len(source.dates)} acquisitions ({dates}'
      f'{", ..." if len(source.dates) > 6 else ""})'
      + (f', and {len(steps)} of {day}' if day is not None else '')
      + '; choose one by its date, such as --time '
      f'{source.dates[0]}.'
    )
  return int(steps[0])


def _check_product(path, title, name):
  """Checks that the name of a product does not tell another level.

  Raises:
    ValueError: if it does.
  """
  if hasattr(path, 'dims'):
    return
  path = pathlib.Path(path)
  names = [path.name, *(x.name for x in path.parents if x.suffix == '.SAFE')]
  for level, product in ('MSIL1C', 'S2L1C'), ('MSIL2A', 'S2L2A'):
    if product != name and any(level in text for text in names):
      raise ValueError(
        f'{title} is a product of level {level[-2:]}, by its name, but is read '
        f'as {name}; pass --product {product}.'
      )
