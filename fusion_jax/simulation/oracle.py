"""The best possible prediction: the mean of the weather given the image.

The image is drawn from the place, the time, the persisting anomaly at the
acquisition and the clouds and rain until then, and from nothing else of the
weather. Given exactly these, hourly values and daily means and sums have
closed forms; daily extremes do not and are averages of conditional draws. For
temperature this is exact; past precipitation uses the clouds that made it but
not what the moisture of the soil adds.
"""

import numpy as np
from scipy import special

from fusion_jax.simulation import climate, planet

_DRAWS = 256  # Standard error of a daily extreme: a sixteenth of its spread.


def conditional_mean(
  place: planet.Place, weather: climate.Weather, extremes: bool = False
) -> dict[str, np.ndarray]:
  """Returns the best point prediction, in squared error, of every series.

  Args:
    place: the place.
    weather: weather of the place; only `start`, `origin`, `anomaly` and `cloud`
      are read, the state that the image was generated from.
    extremes: whether daily minima and maxima are added, by 256 conditional
      draws.

  Returns:
    {series: float64 [60] hourly or [40] daily values in K or mm}.
  """
  leads = np.arange(climate.NUM_HOURS) - weather.origin
  seconds = (weather.start + np.arange(climate.NUM_HOURS)) * 3_600
  cloud_mean, cloud_var = _cloud(weather, leads)
  anomaly = weather.anomaly * climate.persistence(leads, climate.ANOMALY_TAU_H)
  t2m = (
    climate.daily_normal(place, seconds)
    + anomaly
    + climate.diurnal_normal(place, seconds)
    * (1 - climate.CLOUD_DAMPING * cloud_mean)
  )
  threshold, scale = climate.rain_chance(place, seconds)
  spread = np.sqrt(1 - climate.CLOUD_SHARE**2 * (1 - cloud_var))
  chance = special.ndtr((climate.CLOUD_SHARE * cloud_mean - threshold) / spread)
  tp = chance * scale * climate.RAIN_SHAPE
  means = {
    't2m_hourly': climate.hourly(t2m, weather.origin),
    'tp_hourly': climate.hourly(tp, weather.origin),
    't2m_mean_daily': climate.days(t2m, 0).mean(-1),
    'tp_sum_daily': climate.days(tp, 1).sum(-1),
  }
  return means | _extremes(place, weather, seconds) if extremes else means


def _cloud(
  weather: climate.Weather, leads: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and variance [961] of the cloud index, known until lead 0."""
  persistence = climate.persistence(leads, climate.CLOUD_TAU_H)
  mean = weather.cloud[-1] * persistence
  mean[: weather.origin + 1] = weather.cloud
  return mean, np.where(leads > 0, 1 - persistence**2, 0.0)


def _extremes(
  place: planet.Place, weather: climate.Weather, seconds: np.ndarray
) -> dict[str, np.ndarray]:
  """Returns daily minima and maxima [40], means of conditional draws."""
  rng = np.random.default_rng([weather.start, weather.origin])
  paths = climate.draw_paths(
    rng,
    weather.anomaly,
    weather.cloud[-1],
    weather.origin,
    climate.NUM_HOURS - 1 - weather.origin,
    (_DRAWS,),
  )
  paths['cloud'][:, : weather.origin + 1] = weather.cloud
  t2m, tp = climate.combine(place, seconds, paths, rng)
  warmth, rain = climate.days(t2m, 0), climate.days(tp, 1)
  return {
    't2m_min_daily': warmth.min(-1).mean(0),
    't2m_max_daily': warmth.max(-1).mean(0),
    'tp_min_daily': rain.min(-1).mean(0),
    'tp_max_daily': rain.max(-1).mean(0),
  }
