"""Places on the globe and on latitude-longitude grids; NumPy only."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy import typing as npt

Alignment = Literal['nearest', 'bilinear']
EARTH_RADIUS_KM = 6371.0


class OutsideGridError(ValueError):
  """Raised when a place lies outside a regional grid."""


def wrap_longitude(lon: npt.ArrayLike) -> np.ndarray:
  """Brings longitudes [...] in degrees into [-180, 180), as float64."""
  return (np.asarray(lon, np.float64) + 180) % 360 - 180


def distance_km(
  lat: npt.ArrayLike,
  lon: npt.ArrayLike,
  other_lat: npt.ArrayLike,
  other_lon: npt.ArrayLike,
) -> np.ndarray:
  """Returns great-circle distances in km, by the haversine formula.

  Args:
    lat: [...] degrees, latitudes of the first places.
    lon: [...] degrees, longitudes of the first places.
    other_lat: [...] degrees, latitudes of the second places.
    other_lon: [...] degrees, longitudes of the second places.

  Returns:
    [...] float64 in km; the arguments are broadcast against each other.
  """
  lat, lon, other_lat, other_lon = (
    np.radians(np.asarray(x, np.float64))
    for x in (lat, lon, other_lat, other_lon)
  )
  chord = (
    np.sin((lat - other_lat) / 2) ** 2
    + np.cos(lat) * np.cos(other_lat) * np.sin((lon - other_lon) / 2) ** 2
  )
  return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(chord, 1)))


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
  """The cell centres of a field [Y, X].

  Attributes:
    lats: [Y] degrees, from north to south or from south to north, with any
      spacing.
    lons: [X] degrees, eastwards or westwards, in -180..180 or 0..360. A grid
      that goes once around the globe is closed across its ends.
  """

  lats: np.ndarray
  lons: np.ndarray

  def cells(
    self,
    lat: npt.ArrayLike,
    lon: npt.ArrayLike,
    alignment: Alignment = 'nearest',
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the cells of the field that places lie in, and their weights.

    Args:
      lat: [P] degrees, latitudes of the places.
      lon: [P] degrees, longitudes of the places, in any range.
      alignment: 'nearest' takes the nearest cell centre; 'bilinear' takes the
        four around the place, weighted linearly in latitude and longitude.

    Returns:
      Indices [P, K] int into the ravelled field, and weights [P, K] float64,
      with K = 1 for 'nearest' and 4 for 'bilinear'. The weights are NaN for a
      place outside the grid: beyond the outermost centres ('bilinear') or more
        than
      half a cell beyond them ('nearest').

    Raises:
      ValueError: if there is no such alignment, or if the longitudes of the
        grid neither rise nor fall throughout.
    """
    if alignment not in ('nearest', 'bilinear'):
      raise ValueError(
        f"alignment={alignment!r} is neither 'nearest' nor 'bilinear'."
      )
    rows, row_part = self._between_rows(np.asarray(lat, np.float64))
    cols, col_part = self._between_columns(np.asarray(lon, np.float64))
    margin = 0.5 if alignment == 'nearest' else 1e-6
    outside = (row_part < -margin) | (row_part > 1 + margin)
    outside |= (col_part < -margin) | (col_part > 1 + margin)
    if alignment == 'nearest':
      row_part, col_part = np.round(row_part), np.round(col_part)
    row_weights = np.stack([1 - row_part, row_part], -1)  # [P, 2]
    col_weights = np.stack([1 - col_part, col_part], -1)
    index = rows[:, :, None] * len(self.lons) + cols[:, None, :]
    weights = row_weights[:, :, None] * col_weights[:, None, :]
    index, weights = index.reshape(-1, 4), weights.reshape(-1, 4)
    if alignment == 'nearest':
      chosen = weights.argmax(-1)[:, None]
      index = np.take_along_axis(index, chosen, -1)
      weights = np.ones(index.shape)
    return index, np.where(outside[:, None], np.nan, weights)

  def _between_rows(self, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two rows around each latitude, and the position between them.

    The rows are [P, 2]. The position [P] is 0 at the first one and 1 at the
    second one.
    """
    order = np.argsort(self.lats)
    lats = np.asarray(self.lats, np.float64)[order]
    low, part = _between(lats, lat)
    step = np.diff(lats).max(initial=0)
    if lats[-1] + step >= 90:  # No row lies beyond: the last one has the pole.
      part = np.where(lat > lats[-1], np.minimum(part, 1), part)
    if lats[0] - step <= -90:
      part = np.where(lat < lats[0], np.maximum(part, 0), part)
    high = np.minimum(low + 1, len(lats) - 1)
    return order[np.stack([low, high], -1)], part

  def _between_columns(self, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two columns around each longitude, and the position between.

    The columns are [P, 2]. The position [P] is 0 at the first one and 1 at the
    second one.
    """
    east, order = self._eastwards()
    start = self.lons[order[0]]
    step = np.diff(east).max(initial=0)
    closed = east[-1] + step >= 360 - step / 100
    if closed and east[-1] < 360 - step / 100:
      east, order = np.append(east, 360.0), np.append(order, order[0])
    offset = (lon - start) % 360
    if not closed:  # A place just west of the grid is not far east of it.
      offset = np.where(offset > (east[-1] + 360) / 2, offset - 360, offset)
    low, part = _between(east, offset)
    high = np.minimum(low + 1, len(east) - 1)
    return order[np.stack([low, high], -1)], part

  def _eastwards(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns degrees east of the western end, rising, and the column order."""
    steps = wrap_longitude(np.diff(np.asarray(self.lons, np.float64)))
    order = np.arange(len(self.lons))
    if (steps < 0).all() and len(steps):
      steps, order = -steps[::-1], order[::-1]
    if not (steps > 0).all():
      raise ValueError(
        'The longitudes of the grid neither rise nor fall '
        f'throughout: {self.lons[:3]} .. {self.lons[-3:]}.'
      )
    return np.concatenate([[0.0], np.cumsum(steps)]), order

  def __str__(self) -> str:
    return (
      f'{min(self.lats):g} .. {max(self.lats):g} N, '
      f'{self.lons[0]:g} .. {self.lons[-1]:g} E'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """The places of a list of stations or cities, a field [S].

  Attributes:
    lats: [S] degrees, latitudes of the stations.
    lons: [S] degrees, longitudes of the stations.
    max_km: distance in km to the nearest station from which on a place is
      outside.
  """

  lats: np.ndarray
  lons: np.ndarray
  max_km: float = 25.0

  def cells(
    self,
    lat: npt.ArrayLike,
    lon: npt.ArrayLike,
    alignment: Alignment = 'nearest',
  ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest station of each place, and its weight.

    Args:
      lat: [P] degrees, latitudes of the places.
      lon: [P] degrees, longitudes of the places, in any range.
      alignment: only 'nearest'.

    Returns:
      Indices [P, 1] int of stations, and weights [P, 1] float64: 1, or NaN for
      a place that is farther than `max_km` from every station.

    Raises:
      ValueError: for another alignment than 'nearest'.
    """
    if alignment != 'nearest':
      raise ValueError(
        f'alignment={alignment!r} needs a grid, but stations are none: '
        "alignment can only be 'nearest'."
      )
    far = distance_km(
      np.asarray(lat)[:, None],
      np.asarray(lon)[:, None],
      np.asarray(self.lats)[None],
      np.asarray(self.lons)[None],
    )
    index = far.argmin(-1)[:, None]
    outside = np.take_along_axis(far, index, -1) > self.max_km
    return index, np.where(outside, np.nan, 1.0)

  def __str__(self) -> str:
    return f'{len(self.lats)} stations, each for {self.max_km:g} km around'


def interpolate(
  field: np.ndarray, index: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Returns the values of a field at places.

  Args:
    field: [Y * X] float, the ravelled field; NaN where missing.
    index: [P, K] int, indices that `cells` returned.
    weights: [P, K] float, weights that `cells` returned.

  Returns:
    [P] float. A place is missing (NaN) if it is outside the grid, or if one of
    its cells is missing, unless the weight of this cell is 0.
  """
  values = np.where(weights == 0, 0, field[index] * weights)
  return values.sum(-1)


def check_inside(
  grids: Mapping[str, Grid | Points],
  lat: np.ndarray,
  lon: np.ndarray,
  alignment: Alignment,
) -> None:
  """Raises an error if a place lies outside all grids.

  Args:
    grids: {name of the file of a grid: the grid}.
    lat: [P] degrees, latitudes of the places.
    lon: [P] degrees, longitudes of the places.
    alignment: 'nearest' or 'bilinear', as in `Grid.cells`.

  Raises:
    OutsideGridError: if a place lies outside all grids; the message names the
      place, the grids and their files.
  """
  outside = np.ones(len(lat), bool)
  for grid in grids.values():  # The first of many files usually has all places.
    if not outside.any():
      return
    outside &= np.isnan(grid.cells(lat, lon, alignment)[1]).any(-1)
  if outside.any():
    first = np.flatnonzero(outside)[0]
    grid_list = ', '.join(f'{name} ({grid})' for name, grid in grids.items())
    raise OutsideGridError(
      f'{outside.sum()} of {len(outside)} places lie outside the grid of '
      f'{grid_list}, the first at {lat[first]:g} N, {lon[first]:g} E. '
      "Use fields that cover it, or outside='missing' to leave its weather "
      'missing.'
    )


def _between(
  ascending: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the index [P] of the element at or below x [P], and the position.

  The position is 0 at this element and 1 at the next one.
  """
  last = max(len(ascending) - 2, 0)
  low = np.clip(np.searchsorted(ascending, x, side='right') - 1, 0, last)
  high = np.minimum(low + 1, len(ascending) - 1)
  gap = np.where(high > low, ascending[high] - ascending[low], 1.0)
  part = (x - ascending[low]) / gap
  if len(ascending) == 1:  # A single row reaches half a degree to either side.
    part = np.where(part > 0.5, part + 1, part)
  return low, part


def centred(
  shape: Sequence[int], size: int, tiles: bool = False, title: str = 'The scene'
) -> tuple[int, int, int, int]:
  """Returns the tiles at or around the centre of an image.

  Args:
    shape: rows and columns of the image.
    size: pixels per side of a tile.
    tiles: whether to take all whole tiles, not only the one at the centre.
    title: name of the image, for messages.

  Returns:
    First row, first column, number of rows and of columns of tiles.

  Raises:
    ValueError: if the image is smaller than one tile.
  """
  height, width = shape[:2]
  if min(height, width) < size:
    raise ValueError(
      f'{title} has {height} x {width} pixels, but the model sees {size} x '
      f'{size}; give a larger one.'
    )
  rows, columns = (height // size, width // size) if tiles else (1, 1)
  return (
    (height - rows * size) // 2,
    (width - columns * size) // 2,
    rows,
    columns,
  )
