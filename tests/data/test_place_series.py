"""Series at places against weather that is known at every hour."""

import numpy as np
import pytest

from fusion_jax import geo
from fusion_jax.data import windows
from fusion_jax.data.sources import place_series, weather_units

FIRST = 1_585_267_200 // 3600  # 2020-03-27, hours since 1970.
HOURS = 24 * 60
PLACES = geo.Points(np.array([10.0, 20.0]), np.array([0.0, 0.0]))


class Known:
  """Weather of two places, known hour by hour, as fields of any kind."""

  alignment, outside, path = 'nearest', 'error', 'known'

  def __init__(self):
    rng = np.random.default_rng(0)
    self.kelvin = rng.uniform(270, 290, (HOURS, 2))
    self.rain = rng.gamma(0.3, 2.0, (HOURS, 2)) * (rng.random((HOURS, 2)) < 0.5)
    self.records = []

  def add(self, variable, start, end, base, values):
    """Adds the field of an interval, in hours since FIRST."""
    seconds = [(FIRST + hour) * 3600 for hour in (start, end, base)]
    self.records.append(weather_units.Record(variable, *seconds, self, values))

  def grid(self, record):
    return PLACES

  def field(self, record):
    return record.where

  def look(self, days):
    """Places in turn, with windows that begin some days after FIRST."""
    time = (FIRST + 24 * (np.asarray(days) - windows.FIRST_DAY)) * 3600
    place = np.arange(len(days)) % 2
    return place_series.PlaceSeries(
      self, PLACES.lats[place], PLACES.lons[place], time
    ), place


DAYS = [0, 3, 3, 19, 20, 1]  # Some windows end with the last field.


def expected(known, days, place):
  """[P, 960] true values of the windows; rain of an hour is at its start."""
  return np.stack(
    [
      known[24 * day : 24 * day + windows.NUM_HOURS][:, p]
      for day, p in zip(days, place)
    ]
  )


def test_temperatures_are_those_of_every_hour_of_the_window():
  known = Known()
  for hour in range(HOURS):
    known.add('t2m', hour, hour, hour, known.kelvin[hour])
  look, place = known.look(DAYS)
  result = look.temperatures()[np.argsort(look.order)]
  np.testing.assert_array_equal(result, expected(known.kelvin, DAYS, place))


# A run begins at 12 UTC, in the middle of the first day of some window.
@pytest.mark.parametrize('kind', ['since the start', 'buckets', 'hourly'])
def test_rain_of_runs_is_that_of_every_hour_of_the_window(kind):
  known = Known()
  bucket = {'since the start': 36, 'buckets': 6, 'hourly': 1}[kind]
  for base in range(-12, HOURS - 24, 24):
    for step in range(1, 37):
      start = base + (step - 1) // bucket * bucket
      if start >= 0 and base + step <= HOURS:
        values = known.rain[start : base + step].sum(0)
        known.add('tp', start, base + step, base, values)
  look, place = known.look(DAYS)
  result = look.rain()[np.argsort(look.order)]
  truth = expected(known.rain, DAYS, place)
  covered = np.isfinite(result)
  assert covered[np.asarray(DAYS) > 0].all()
  np.testing.assert_allclose(result[covered], truth[covered], atol=1e-6)
