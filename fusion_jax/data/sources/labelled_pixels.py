"""Labelled years of real pixels, from WorldCereal and from Presto's benchmarks.

WorldCereal  Parquet, with one row per month or per pixel; 65535 is missing.
             They are read as twelve calendar months, January first, in
             whatever month a series starts.
             github.com/WorldCereal/worldcereal-classification (MIT).
Presto       NumPy arrays of Sentinel-1 and -2, ERA5 and SRTM with live fuel
             moisture (three steps, of which two may lie in one month) or
             severity of algal blooms (twelve months).
             github.com/nasaharvest/presto (MIT).
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np
import pandas
from absl import logging
from pyarrow import parquet

from fusion_jax.data import composites, labels
from fusion_jax.untrusted import archives, memory, nested

MISSING = 65535
_BELGIAN = 2020 * 12 + 10  # November 2020, in months.
IGNORED = 'ignore'  # WorldCereal's name of labels without information.
PRESTO_VARIABLES = (
  'VV',
  'VH',
  'B2',
  'B3',
  'B4',
  'B5',
  'B6',
  'B7',
  'B8',
  'B8A',
  'B9',
  'B11',
  'B12',
  'temperature_2m',
  'total_precipitation',
  'elevation',
  'slope',
  'NDVI',
)


class LabelledPixels(NamedTuple):
  """P labelled pixels with T time steps of C bands.

  Attributes:
    keys: P names of the pixels.
    values: float32 [P, T, C], NaN = missing; reflectance x 10,000 of
      `composites.BANDS` (WorldCereal), or `PRESTO_VARIABLES`.
    months: int [P, T], 0 = January.
    target: int [P], indices into `classes`, -1 for none; float [P] where
      `classes` is ().
    classes: names of the classes.
    lat: float [P], degrees north.
    lon: float [P], degrees east.
    sites: [P] strings, data set or site of each pixel.
  """

  keys: tuple[str, ...]
  values: np.ndarray
  months: np.ndarray
  target: np.ndarray
  classes: tuple[str, ...]
  lat: np.ndarray
  lon: np.ndarray
  sites: np.ndarray

  def take(self, chosen: np.ndarray) -> 'LabelledPixels':
    """Returns the pixels of a bool [P] or int [N] index."""
    index = np.arange(len(self.keys))[chosen]
    return self._replace(
      keys=tuple(self.keys[i] for i in index),
      values=self.values[index],
      months=self.months[index],
      target=self.target[index],
      lat=self.lat[index],
      lon=self.lon[index],
      sites=self.sites[index],
    )

  def cells(self, size_deg: float = 0.25) -> np.ndarray:
    """Returns [P] names of the cells of `size_deg` degrees of the pixels."""
    rows, columns = (
      np.floor(x / size_deg).astype(int) for x in (self.lat, self.lon)
    )
    return np.array([f'{row}/{column}' for row, column in zip(rows, columns)])


def _read_table(path: str | os.PathLike[str]) -> pandas.DataFrame:
  """The table of a Parquet file.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it is no Parquet file.
  """
  if not pathlib.Path(path).is_file():
    raise FileNotFoundError(
      f'There is no file {path}; give the path of a Parquet file, or of the '
      'folder that holds one of this name.'
    )
  try:
    with parquet.ParquetFile(path) as file:
      groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    size = sum(group.total_byte_size for group in groups)
    memory.check(size, path, 'the table')
    return pandas.read_parquet(path)
  except Exception as error:  # pyarrow raises many kinds.
    if str(path) in str(error) and isinstance(error, ValueError):
      raise
    raise ValueError(
      f'{path} is cut short or no Parquet file ({error}); fetch it again.'
    ) from error


def read_long(
  path: str | os.PathLike[str],
  legend_path: str | os.PathLike[str],
  legend: str = 'LANDCOVER10',
  start: str = '',
) -> LabelledPixels:
  """Reads WorldCereal pixels of a Parquet with a row per pixel and month.

  Args:
    path: path of the Parquet file.
    legend_path: JSON {legend: {ewoc_code: class}}.
    legend: name of the legend that has the classes.
    start: 'YYYY-MM', the first of the twelve months to take. By default those
      of which the file has most, and of several such those from November 2020,
      as in WorldCereal's Belgian cube, or else the first.

  Returns:
    The pixels, without a label where the legend says 'ignore'. A month that the
    file does not have of a pixel is NaN; a pixel without any is left out, with
    a warning.

  Raises:
    ValueError: if the legend is unknown, a column is missing, a pixel has a
      month twice, or no pixel has one of the months from `start`.
  """
  table = _read_table(path)
  bands = [f'S2-L2A-{_padded(band)}' for band in composites.BANDS]
  _require(
    path,
    [*bands, 'sample_id', 'timestamp', 'ewoc_code', 'ref_id', 'lat', 'lon'],
    table.columns,
  )
  table, first = _in_year(table, path, start)
  pixels = table.groupby('sample_id').first()
  values = np.full((len(pixels), 12, len(bands)), np.nan, np.float32)
  rows = pixels.index.get_indexer(table.sample_id)
  values[rows, table.step] = _missing(table[bands].to_numpy())
  target, classes = _by_legend(pixels.ewoc_code, legend_path, legend)
  return LabelledPixels(
    tuple(pixels.index),
    _from_january(values, first % 12 + 1),
    _calendar(len(pixels)),
    target,
    classes,
    pixels.lat.to_numpy(float),
    pixels.lon.to_numpy(float),
    pixels.ref_id.to_numpy(str),
  )


def _in_year(table, path, start):
  """Returns the rows of twelve months with their `step`, and the first month.

  Months are counted from January of year 0.
  """
  stamps = pandas.to_datetime(table.timestamp)
  months = (stamps.dt.year * 12 + stamps.dt.month - 1).to_numpy()
  if start:
    year, month = map(int, start.split('-')[:2])
    first = year * 12 + month - 1
  else:
    found, counts = np.unique(months, return_counts=True)
    candidates = [_BELGIAN, *found]
    in_year = [
      counts[(found >= x) & (found < x + 12)].sum() for x in candidates
    ]
    first = int(candidates[int(np.argmax(in_year))])
  step = months - first
  chosen = (step >= 0) & (step < 12)
  if start and len(np.unique(step[chosen])) < 12:
    raise ValueError(
      f'{path} has no twelve months from {start} of any of its pixels; it runs '
      f'from {stamps.min():%Y-%m} to {stamps.max():%Y-%m}.'
    )
  kept = table.assign(step=step)[chosen]
  twice = kept.duplicated(['sample_id', 'step'])
  if twice.any():
    pixel = kept[twice].iloc[0]
    raise ValueError(
      f'{path} has the pixel {pixel.sample_id} twice in {pixel.timestamp}; '
      'keep one row for each month.'
    )
  without = table.sample_id.nunique() - kept.sample_id.nunique()
  missing = 12 * kept.sample_id.nunique() - len(kept)
  if without or missing:
    logging.warning(
      '%s, twelve months from %d-%02d: %d pixels have none of them and are '
      'left out, and %d months of the others are missing.',
      path,
      first // 12,
      first % 12 + 1,
      without,
      missing,
    )
  return kept.sort_values(['sample_id', 'step']), first


def read_wide(
  path: str | os.PathLike[str], label: str = 'label_full', at_least: int = 20
) -> LabelledPixels:
  """Reads WorldCereal pixels of a Parquet with a row per pixel.

  Args:
    path: path of the Parquet file.
    label: name of the column with the names of the classes.
    at_least: number of pixels that a class needs; pixels of smaller classes
      have no label.

  Raises:
    ValueError: if a column is missing.
  """
  table = _read_table(path)
  columns = [
    [_wide_column(table.columns, band, step) for band in composites.BANDS]
    for step in range(12)
  ]
  flat = [name for step in columns for name in step]
  _require(
    path,
    [*flat, label, 'start_date', 'ref_id', 'sample_id', 'lat', 'lon'],
    table.columns,
  )
  values = _missing(table[flat].to_numpy(float).reshape(len(table), 12, -1))
  start = pandas.to_datetime(table.start_date).dt.month
  values = np.stack(
    [_from_january(x[None], month)[0] for x, month in zip(values, start)]
  )
  names, counts = np.unique(table[label].astype(str), return_counts=True)
  classes = tuple(names[counts >= at_least])
  target = np.array(
    [
      classes.index(name) if name in classes else labels.NONE
      for name in table[label].astype(str)
    ]
  )
  return LabelledPixels(
    tuple(table.sample_id.astype(str)),
    values,
    _calendar(len(table)),
    target,
    classes,
    table.lat.to_numpy(float),
    table.lon.to_numpy(float),
    table.ref_id.to_numpy(str),
  )


def read_presto(folder: str | os.PathLike[str]) -> LabelledPixels:
  """Reads one of Presto's regressions.

  Args:
    folder: folder with `s1_s2_era5_srtm.npy` [P, T, 18], `latlon.npy`,
      `month.npy` (0 = January), `target.npy` and, where there are sites,
      `site.npy`.
  """
  folder = pathlib.Path(folder)
  series, latlon, months, target = (
    archives.read_npy(folder / f'{name}.npy')
    for name in ('s1_s2_era5_srtm', 'latlon', 'month', 'target')
  )
  keys = tuple(str(i) for i in range(len(series)))
  pixels = LabelledPixels(
    keys,
    series.astype(np.float32),
    months,
    target.astype(float),
    (),
    latlon[:, 0],
    latlon[:, 1],
    np.array(keys),
  )
  sites = folder / 'site.npy'
  return pixels._replace(
    sites=archives.read_npy(sites).astype(str)
    if sites.exists()
    else pixels.cells()
  )


def _by_legend(codes, path, legend):
  """Returns targets int [P], and the classes of a legend that occur."""
  tables = nested.read_table(path)
  if legend not in tables:
    raise ValueError(
      f'{path} has no legend {legend!r}; there are {", ".join(tables)}.'
    )
  names = [tables[legend].get(str(int(code)), IGNORED) for code in codes]
  classes = tuple(sorted(set(names) - {IGNORED}))
  return np.array(
    [classes.index(name) if name != IGNORED else labels.NONE for name in names]
  ), classes


def _from_january(values: np.ndarray, first_month: int) -> np.ndarray:
  """Rotates [P, 12, C] that starts in a month, 1 to 12, to January first."""
  return np.roll(values, first_month - 1, axis=1)


def _calendar(count: int) -> np.ndarray:
  return np.broadcast_to(np.arange(12), (count, 12))


def _missing(values: np.ndarray) -> np.ndarray:
  values = np.asarray(values, np.float32)
  return np.where(values == MISSING, np.float32(np.nan), values)


def _wide_column(columns, band, step):
  for resolution in (10, 20):
    name = f'OPTICAL-{_padded(band)}-ts{step}-{resolution}m'
    if name in columns:
      return name
  return f'OPTICAL-{_padded(band)}-ts{step}-10m'  # `_require` names it.


def _padded(band: str) -> str:
  """Returns 'B02' for 'B2', and 'B8A' as it is."""
  return f'B{int(band[1:]):02d}' if band[1:].isdigit() else band


def _require(path, required, columns):
  if missing := [name for name in required if name not in columns]:
    raise ValueError(
      f'{path} lacks the columns {missing[:6]}; it has '
      f'{list(columns)[:12]}, ...'
    )
