"""Weather of the simulated Earth: hourly temperature and precipitation.

Temperature is the normal (annual and diurnal cycle), whose diurnal part
clouds damp, plus an anomaly that persists for days and shows in the image,
plus a mesoscale fluctuation of some hours that does not. All are
Ornstein-Uhlenbeck processes, drawn outwards from the acquisition in exact
hourly steps, so their conditional means are known (`oracle.py`).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from scipy import signal, special

from fusion_jax import modalities
from fusion_jax.data import windows
from fusion_jax.simulation import planet, sun

_HOUR = 3_600
_YEAR_DAYS = 365.2425
NUM_HOURS = windows.NUM_HOURS + 1  # 00 UTC of the first day .. 24 of the last.

LAPSE_K_PER_M = 0.0065
ANOMALY_SD_K, ANOMALY_TAU_H = 4.0, 90.0
MESOSCALE_SD_K, MESOSCALE_TAU_H = 2.8, 10.0
CLOUD_TAU_H = 30.0  # Unit variance; high is overcast.
CLEAR_MEAN, CLEAR_SD = -0.6, 0.6  # Cloud at an acquisition: fair weather.
CLOUD_DAMPING = 0.2  # Share of the diurnal range lost per unit of cloud.
SHOWER_TAU_H = 3.0
CLOUD_SHARE = 0.8  # Weight of cloud in the rain index; the rest is showers.
RAIN_SHAPE = 0.6  # Shape of the gamma distribution of wet hours.
MOISTURE_TAU_H, MOISTURE_MM = 72.0, 8.0


@dataclasses.dataclass(frozen=True)
class Weather:
  """Hourly weather of 40 UTC days around an acquisition.

  Attributes:
    start: UTC hours since 1970 of the first value, 00 UTC of day -29.
    origin: index of the acquisition hour (lead 0).
    t2m: float32 [961] K, instantaneous.
    tp: float32 [961] mm, sum over the hour that ends then.
    anomaly: persisting anomaly at the acquisition hour, in K.
    cloud: float64 [origin + 1], the cloud index up to the acquisition.
    moisture: moisture of the soil, 0..1, from the rain until the
      acquisition.
  """

  start: int
  origin: int
  t2m: np.ndarray
  tp: np.ndarray
  anomaly: float
  cloud: np.ndarray
  moisture: float


def hours_around(time: int) -> tuple[int, int]:
  """Returns the first of the 40 days' hours, and the index of lead 0.

  Args:
    time: acquisition in UTC seconds since 1970.

  Returns:
    (UTC hours since 1970 of the first value, index of the acquisition).
  """
  start = windows.first_hour(time)
  return int(start), int(windows.acquisition_hour(time) - start)


def daily_normal(place: planet.Place, time: ArrayLike) -> np.ndarray:
  """Returns the normal daily mean temperature; seasons flip at the equator.

  Args:
    place: the place.
    time: [...] UTC seconds since 1970.

  Returns:
    [...] K.
  """
  polar = abs(np.sin(np.deg2rad(place.lat)))
  mean = 301.2 - 44 * polar**2.3 - LAPSE_K_PER_M * place.elevation
  inland = place.continentality
  swing = 24 * polar**1.5 * (0.35 + 0.75 * inland)
  warmest = 226 - 24 * inland + (0 if place.lat >= 0 else _YEAR_DAYS / 2)
  phase = 2 * np.pi * (sun.day_of_year(time) - warmest) / _YEAR_DAYS
  return mean + swing * np.cos(phase)


def diurnal_normal(place: planet.Place, time: ArrayLike) -> np.ndarray:
  """Returns the normal departure from the daily mean under mean cloud.

  It is highest near 14:30 and lowest near 5 local solar time; its range is wide
  inland, in dry air and under a high sun.

  Args:
    place: the place.
    time: [...] UTC seconds since 1970.

  Returns:
    [...] K.
  """
  noon = np.cos(np.deg2rad(place.lat) - sun.declination(time))
  half_range = (
    (2.0 + 4.5 * place.continentality)
    * (1.25 - 0.6 * place.wetness)
    * (0.35 + 0.8 * np.maximum(noon, 0))
  )
  angle = 2 * np.pi * (sun.solar_hour(place.lon, time) - 14.6) / 24
  return half_range * (np.cos(angle) + 0.3 * np.sin(2 * angle + 1.75))


def persistence(hours: ArrayLike, tau: float) -> np.ndarray:
  """Returns the correlation [...] of an Ornstein-Uhlenbeck process.

  Args:
    hours: [...] distance in time, in hours.
    tau: memory of the process in hours.
  """
  return np.exp(-np.abs(hours) / tau)


def ou_from_origin(
  rng: np.random.Generator,
  start: ArrayLike,
  num_before: int,
  num_after: int,
  tau: float,
  sd: float,
  draws: tuple[int, ...] = (),
) -> np.ndarray:
  """Draws an Ornstein-Uhlenbeck process outwards in exact hourly steps.

  Args:
    rng: generator of the steps.
    start: value at the origin, of shape `draws` or a scalar.
    num_before: number of hours before the origin.
    num_after: number of hours after the origin.
    tau: memory of the process in hours.
    sd: stationary standard deviation; the mean is 0.
    draws: leading shape of independent draws.

  Returns:
    [*draws, num_before + 1 + num_after] values.
  """
  rho = np.exp(-1 / tau)
  steps = rng.standard_normal((*draws, num_before + num_after))
  steps *= sd * np.sqrt(1 - rho**2)
  start = np.broadcast_to(start, draws)[..., None]

  def run(noise: np.ndarray) -> np.ndarray:
    if not noise.shape[-1]:
      return noise
    return signal.lfilter([1.0], [1.0, -rho], noise, zi=rho * start)[0]

  before = run(steps[..., :num_before])[..., ::-1]
  return np.concatenate([before, start, run(steps[..., num_before:])], -1)


def rain_chance(
  place: planet.Place, time: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
  """Returns when it rains, and how much.

  Args:
    place: the place.
    time: [...] UTC seconds since 1970.

  Returns:
    ([...] threshold of the rain index, [...] scale of the gamma distribution
    of wet hours in mm).
  """
  summer = 205 if place.lat >= 0 else 205 - _YEAR_DAYS / 2
  season = np.cos(2 * np.pi * (sun.day_of_year(time) - summer) / _YEAR_DAYS)
  chance = (0.008 + 0.15 * place.wetness**1.4) * (
    1 + 0.9 * place.monsoon * season
  )
  warmth = np.clip((daily_normal(place, time) - 263) / 40, 0, 1)
  return -special.ndtri(chance), 0.6 + 2.0 * warmth


def simulate(
  place: planet.Place, time: int, rng: np.random.Generator
) -> Weather:
  """Draws the weather around an acquisition.

  Args:
    place: the place.
    time: acquisition in UTC seconds since 1970.
    rng: generator of the weather.
  """
  start, origin = hours_around(time)
  before, after = origin, NUM_HOURS - 1 - origin
  anomaly = float(rng.normal(0, ANOMALY_SD_K))
  cloud = float(rng.normal(CLEAR_MEAN, CLEAR_SD))
  paths = draw_paths(rng, anomaly, cloud, before, after)
  seconds = (start + np.arange(NUM_HOURS)) * _HOUR
  t2m, tp = combine(place, seconds, paths, rng)
  age = np.arange(origin, -1, -1)
  fallen = np.sum(tp[: origin + 1] * np.exp(-age / MOISTURE_TAU_H))
  return Weather(
    start=start,
    origin=origin,
    t2m=t2m.astype(np.float32),
    tp=tp.astype(np.float32),
    anomaly=anomaly,
    cloud=paths['cloud'][: origin + 1],
    moisture=float(1 - np.exp(-fallen / MOISTURE_MM)),
  )


def draw_paths(
  rng: np.random.Generator,
  anomaly: float,
  cloud: float,
  before: int,
  after: int,
  draws: tuple[int, ...] = (),
) -> dict[str, np.ndarray]:
  """Draws the four hidden processes.

  Args:
    rng: generator of the processes.
    anomaly: persisting anomaly at the acquisition in K.
    cloud: cloud index at the acquisition.
    before: number of hours before the acquisition.
    after: number of hours after the acquisition.
    draws: leading shape of independent draws.

  Returns:
    {name: [*draws, before + 1 + after]}.
  """

  def draw(
    start: float | np.ndarray | None, tau: float, sd: float
  ) -> np.ndarray:
    if start is None:  # Unknown at the acquisition.
      start = rng.normal(0, sd, draws)
    return ou_from_origin(rng, start, before, after, tau, sd, draws)

  return {
    'anomaly': draw(anomaly, ANOMALY_TAU_H, ANOMALY_SD_K),
    'cloud': draw(cloud, CLOUD_TAU_H, 1.0),
    'mesoscale': draw(None, MESOSCALE_TAU_H, MESOSCALE_SD_K),
    'shower': draw(None, SHOWER_TAU_H, 1.0),
  }


def combine(
  place: planet.Place,
  seconds: np.ndarray,
  paths: Mapping[str, np.ndarray],
  rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
  """Computes the weather from the hidden processes.

  Args:
    place: the place.
    seconds: [T] UTC seconds since 1970.
    paths: {name: [..., T]}, see `draw_paths`.
    rng: generator of the amounts of rain.

  Returns:
    ([..., T] temperature in K, [..., T] precipitation in mm).
  """
  t2m = (
    daily_normal(place, seconds)
    + paths['anomaly']
    + paths['mesoscale']
    + diurnal_normal(place, seconds) * (1 - CLOUD_DAMPING * paths['cloud'])
  )
  threshold, scale = rain_chance(place, seconds)
  index = (
    CLOUD_SHARE * paths['cloud'] + np.sqrt(1 - CLOUD_SHARE**2) * paths['shower']
  )
  amount = scale * rng.standard_gamma(RAIN_SHAPE, t2m.shape)
  return t2m, np.where(index > threshold, amount, 0.0)


def hourly(values: np.ndarray, origin: int) -> np.ndarray:
  """Cuts the window of leads -47..+12 h.

  Args:
    values: [..., 961] hourly values.
    origin: index of the acquisition hour.

  Returns:
    [..., 60] values.
  """
  first, last = modalities.HOURLY_LEADS[0], modalities.HOURLY_LEADS[-1]
  return values[..., origin + first : origin + last + 1]


def days(values: np.ndarray, first_hour: int) -> np.ndarray:
  """Splits hourly values by UTC day.

  Args:
    values: [..., 961] hourly values.
    first_hour: 0 for the hours 00..23 of each day, 1 for 01..24.

  Returns:
    [..., 40, 24] values.
  """
  window = values[..., first_hour : first_hour + NUM_HOURS - 1]
  return window.reshape(*values.shape[:-1], windows.NUM_DAYS, 24)


def series(time: int, weather: Weather) -> dict[str, np.ndarray]:
  """Returns all weather series of an example.

  Args:
    time: acquisition in UTC seconds since 1970.
    weather: hourly weather around the acquisition.

  Returns:
    {series: float32 [60] hourly or [40] daily values in K or mm}.
  """
  batch = windows.series(
    np.array([time]), weather.t2m[None, :-1], weather.tp[None, 1:]
  )
  return {name: values[0] for name, values in batch.items()}
