"""Weather of the simulated Earth: hourly temperature and precipitation.

Temperature is the normal (annual and diurnal cycle), whose diurnal part
clouds damp, plus an anomaly that persists for days and shows in the image,
plus a mesoscale fluctuation of some hours that does not. All are
Ornstein-Uhlenbeck processes, drawn outwards from the acquisition in exact
hourly steps, so their conditional means are known (`oracle.py`).
"""

import dataclasses

import numpy as np
from scipy import signal, special

from fusion_jax import modalities
from fusion_jax.data import windows
from fusion_jax.simulation import sun

_HOUR = 3_600
_YEAR_DAYS = 365.2425
NUM_HOURS = windows.NUM_HOURS + 1  # 00 UTC of the first day .. 24 of the last.

LAPSE_K_PER_M = 0.0065
ANOMALY_SD_K, ANOMALY_TAU_H = 4.0, 90.0
MESOSCALE_SD_K, MESOSCALE_TAU_H = 2.8, 10.0
CLOUD_TAU_H = 30.0  # Unit variance; high is overcast.
CLEAR_MEAN, CLEAR_SD = -0.6, 0.6  # Cloud at an acquisition: fair weather.
CLOUD_DAMPING = 0.2  # Of the diurnal range, a unit of cloud.
SHOWER_TAU_H = 3.0
CLOUD_SHARE = 0.8  # Of the rain-making index; the rest is showers.
RAIN_SHAPE = 0.6  # Of the gamma distribution of wet hours.
MOISTURE_TAU_H, MOISTURE_MM = 72.0, 8.0


@dataclasses.dataclass(frozen=True)
class Weather:
  """Hourly weather of 40 UTC days around an acquisition.

  Attributes:
    start: UTC hours since 1970 of the first value, 00 UTC of day -29.
    origin: index of the acquisition hour (lead 0).
    t2m: float32 [961] K, instantaneous.
    tp: float32 [961] mm, sum over the hour that ends then.
    anomaly: K, of the persisting process at the acquisition hour.
    cloud: float64 [origin + 1], the cloud index up to the acquisition.
    moisture: 0..1, of the soil, from the rain until the acquisition.
  """

  start: int
  origin: int
  t2m: np.ndarray
  tp: np.ndarray
  anomaly: float
  cloud: np.ndarray
  moisture: float


def hours_around(time):
  """(first hour, index of lead 0) of the 40 days around UTC seconds `time`."""
  start = windows.first_hour(time)
  return int(start), int(windows.acquisition_hour(time) - start)


def daily_normal(place, time):
  """Normal daily mean temperature in K; seasons flip across the equator."""
  polar = abs(np.sin(np.deg2rad(place.lat)))
  mean = 301.2 - 44 * polar**2.3 - LAPSE_K_PER_M * place.elevation
  inland = place.continentality
  swing = 24 * polar**1.5 * (0.35 + 0.75 * inland)
  warmest = 226 - 24 * inland + (0 if place.lat >= 0 else _YEAR_DAYS / 2)
  phase = 2 * np.pi * (sun.day_of_year(time) - warmest) / _YEAR_DAYS
  return mean + swing * np.cos(phase)


def diurnal_normal(place, time):
  """Normal departure from the daily mean in K, of mean cloud.

  Warmest near 14:30, coldest near 5 local solar time; wide inland, in dry air
  and under a high sun.
  """
  noon = np.cos(np.deg2rad(place.lat) - sun.declination(time))
  half_range = (
    (2.0 + 4.5 * place.continentality)
    * (1.25 - 0.6 * place.wetness)
    * (0.35 + 0.8 * np.maximum(noon, 0))
  )
  angle = 2 * np.pi * (sun.solar_hour(place.lon, time) - 14.6) / 24
  return half_range * (np.cos(angle) + 0.3 * np.sin(2 * angle + 1.75))


def persistence(hours, tau):
  """Correlation of an OU process over `hours`."""
  return np.exp(-np.abs(hours) / tau)


def ou_from_origin(rng, start, num_before, num_after, tau, sd, draws=()):
  """An OU process through `start`, outwards in exact hourly steps.

  Args:
    rng: NumPy generator.
    start: value at the origin, of shape `draws` or a scalar.
    num_before: hours before the origin.
    num_after: hours after it.
    tau: memory in hours.
    sd: stationary standard deviation; the mean is 0.
    draws: leading shape of independent draws.

  Returns:
    [*draws, num_before + 1 + num_after] values.
  """
  rho = np.exp(-1 / tau)
  steps = rng.standard_normal((*draws, num_before + num_after))
  steps *= sd * np.sqrt(1 - rho**2)
  start = np.broadcast_to(start, draws)[..., None]

  def run(noise):
    if not noise.shape[-1]:
      return noise
    return signal.lfilter([1.0], [1.0, -rho], noise, zi=rho * start)[0]

  before = run(steps[..., :num_before])[..., ::-1]
  return np.concatenate([before, start, run(steps[..., num_before:])], -1)


def rain_chance(place, time):
  """(threshold of the rain index, mm scale of the gamma) at UTC seconds."""
  summer = 205 if place.lat >= 0 else 205 - _YEAR_DAYS / 2
  season = np.cos(2 * np.pi * (sun.day_of_year(time) - summer) / _YEAR_DAYS)
  chance = (0.008 + 0.15 * place.wetness**1.4) * (
    1 + 0.9 * place.monsoon * season
  )
  warmth = np.clip((daily_normal(place, time) - 263) / 40, 0, 1)
  return -special.ndtri(chance), 0.6 + 2.0 * warmth


def simulate(place, time, rng):
  """Draws the `Weather` around an acquisition at UTC seconds `time`."""
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


def draw_paths(rng, anomaly, cloud, before, after, draws=()):
  """The four hidden processes [*draws, before + 1 + after] by name."""

  def draw(start, tau, sd):
    if start is None:  # Unknown at the acquisition.
      start = rng.normal(0, sd, draws)
    return ou_from_origin(rng, start, before, after, tau, sd, draws)

  return {
    'anomaly': draw(anomaly, ANOMALY_TAU_H, ANOMALY_SD_K),
    'cloud': draw(cloud, CLOUD_TAU_H, 1.0),
    'mesoscale': draw(None, MESOSCALE_TAU_H, MESOSCALE_SD_K),
    'shower': draw(None, SHOWER_TAU_H, 1.0),
  }


def combine(place, seconds, paths, rng):
  """(temperature in K, precipitation in mm) from the hidden processes."""
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


def hourly(values, origin):
  """The hourly window [..., 60] of leads -47..+12."""
  first, last = modalities.HOURLY_LEADS[0], modalities.HOURLY_LEADS[-1]
  return values[..., origin + first : origin + last + 1]


def days(values, first_hour):
  """[..., 40, 24]: each UTC day's hours 00..23 (0) or 01..24 (1)."""
  window = values[..., first_hour : first_hour + NUM_HOURS - 1]
  return window.reshape(*values.shape[:-1], windows.NUM_DAYS, 24)


def series(time, weather):
  """All weather modalities of an example: float32 [60] and [40], K and mm."""
  found = windows.series(
    np.array([time]), weather.t2m[None, :-1], weather.tp[None, 1:]
  )
  return {name: values[0] for name, values in found.items()}
