"""Places on the globe and on latitude-longitude grids; NumPy only."""

import dataclasses
from typing import Literal

import numpy as np

Alignment = Literal['nearest', 'bilinear']
EARTH_RADIUS_KM = 6371.0


class OutsideGridError(ValueError):
  """A place lies outside a regional grid."""


def wrap_longitude(lon):
  """The same longitude [...] in degrees, within [-180, 180)."""
  return (np.asarray(lon, np.float64) + 180) % 360 - 180


def distance_km(lat, lon, other_lat, other_lon):
  """Great-circle distance of places in degrees, broadcast; haversine."""
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
    lats: [Y] degrees, north to south or south to north, any spacing.
    lons: [X] degrees, eastwards or westwards, -180..180 or 0..360; a grid
      that goes once round the globe is closed across its ends.
  """

  lats: np.ndarray
  lons: np.ndarray

  def cells(self, lat, lon, alignment='nearest'):
    """Where in the field places lie.

    Args:
      lat: [P] degrees.
      lon: [P] degrees, any range.
      alignment: 'nearest' takes the nearest cell centre; 'bilinear' the four
        around, weighted linearly in latitude and longitude.

    Returns:
      index [P, K] into the field's ravelled cells and their weights [P, K],
      K = 1 or 4, the weights NaN for a place outside: beyond the centres at
      the edge (bilinear) or more than half a cell beyond them (nearest).
    """
    if alignment not in ('nearest', 'bilinear'):
      raise ValueError(
        f'alignment={alignment!r} is neither nearest nor bilinear.'
      )
    rows, row_part = self._between_rows(np.asarray(lat, np.float64))
    cols, col_part = self._between_columns(np.asarray(lon, np.float64))
    margin = 0.5 if alignment == 'nearest' else 1e-6
    outside = (
      sum(
        (part < -margin) | (part > 1 + margin) for part in (row_part, col_part)
      )
      > 0
    )
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

  def _between_rows(self, lat):
    """The rows [P, 2] around each latitude, and the share of the way [P]."""
    order = np.argsort(self.lats)
    lats = np.asarray(self.lats, np.float64)[order]
    low, part = _between(lats, lat)
    step = np.diff(lats).max(initial=0)
    if lats[-1] + step >= 90:  # No row beyond it: the pole belongs to it.
      part = np.where(lat > lats[-1], np.minimum(part, 1), part)
    if lats[0] - step <= -90:
      part = np.where(lat < lats[0], np.maximum(part, 0), part)
    high = np.minimum(low + 1, len(lats) - 1)
    return order[np.stack([low, high], -1)], part

  def _between_columns(self, lon):
    """The columns [P, 2] around each longitude, and the share [P]."""
    east, order = self._eastwards()
    start = self.lons[order[0]]
    step = np.diff(east).max(initial=0)
    closed = east[-1] + step >= 360 - step / 100
    if closed and east[-1] < 360 - step / 100:
      east, order = np.append(east, 360.0), np.append(order, order[0])
    offset = (lon - start) % 360
    if not closed:  # A little to the west, rather than far to the east.
      offset = np.where(offset > (east[-1] + 360) / 2, offset - 360, offset)
    low, part = _between(east, offset)
    high = np.minimum(low + 1, len(east) - 1)
    return order[np.stack([low, high], -1)], part

  def _eastwards(self):
    """Degrees east of the western end, ascending, and the columns' order."""
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

  def __str__(self):
    return (
      f'{min(self.lats):g} .. {max(self.lats):g} N, '
      f'{self.lons[0]:g} .. {self.lons[-1]:g} E'
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
  """The places of a list of stations or cities, a field [S].

  Attributes:
    lats: [S] degrees.
    lons: [S] degrees.
    max_km: a place farther than this from all of them is outside.
  """

  lats: np.ndarray
  lons: np.ndarray
  max_km: float = 25.0

  def cells(self, lat, lon, alignment='nearest'):
    """The nearest station, as `Grid.cells` has it with K = 1."""
    if alignment != 'nearest':
      raise ValueError('Stations are no grid: alignment can only be nearest.')
    far = distance_km(
      np.asarray(lat)[:, None],
      np.asarray(lon)[:, None],
      np.asarray(self.lats)[None],
      np.asarray(self.lons)[None],
    )
    index = far.argmin(-1)[:, None]
    outside = np.take_along_axis(far, index, -1) > self.max_km
    return index, np.where(outside, np.nan, 1.0)

  def __str__(self):
    return f'{len(self.lats)} stations, each for {self.max_km:g} km around'


def interpolate(field, index, weights):
  """Values [P] of a ravelled field at the places of `cells`.

  A missing cell makes a place missing unless its weight is zero.
  """
  values = np.where(weights == 0, 0, field[index] * weights)
  return values.sum(-1)


def check_inside(grids, lat, lon, alignment):
  """Raises if none of the grids reaches a place.

  Args:
    grids: {name of its file: `Grid` or `Points`}.
    lat: [P] degrees.
    lon: [P] degrees.
    alignment: 'nearest' or 'bilinear'.

  Raises:
    OutsideGridError: naming the place, the grids and their files.
  """
  outside = np.ones(len(lat), bool)
  for grid in grids.values():  # Of many files, the first mostly does.
    if not outside.any():
      return
    outside &= np.isnan(grid.cells(lat, lon, alignment)[1]).any(-1)
  if outside.any():
    first = np.flatnonzero(outside)[0]
    named = ', '.join(f'{name} ({grid})' for name, grid in grids.items())
    raise OutsideGridError(
      f'{outside.sum()} of {len(outside)} places lie outside the grid of '
      f'{named}, the first at {lat[first]:g} N, {lon[first]:g} E. '
      "Use fields that cover it, or outside='missing' to leave its weather "
      'missing.'
    )


def _between(ascending, x):
  """Index [P] of the element at or below each x, and the way to the next."""
  last = max(len(ascending) - 2, 0)
  low = np.clip(np.searchsorted(ascending, x, side='right') - 1, 0, last)
  high = np.minimum(low + 1, len(ascending) - 1)
  gap = np.where(high > low, ascending[high] - ascending[low], 1.0)
  part = (x - ascending[low]) / gap
  if len(ascending) == 1:  # Half a degree to either side, not to the next one.
    part = np.where(part > 0.5, part + 1, part)
  return low, part
