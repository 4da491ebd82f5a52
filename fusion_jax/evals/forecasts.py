"""Generated series beside the truth: scores, a table, figures.

A point prediction is the mean of the samples; R2 is 1 - SSE / SST, pooled over
held-out places.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from fusion_jax import modalities
from fusion_jax.evals import forecast_plots, plots, tables
from fusion_jax.ops import metrics

# Leads, in hours or days from the acquisition, that get numbers of their own.
HOURLY = (-47, -36, -24, -12, -6, 0, 6, 12)
DAILY = (-29, -14, -7, -1, 0, 1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Forecast:
  """Generated series of P places beside the truth, in the series' unit.

  Attributes:
    modality: modality of the series, with T leads.
    truth: [P, T], NaN where a value is missing.
    samples: [P, S, T], S draws of every place.
    greedy: [P, T], from the likeliest token at every lead.
    yardsticks: {name: [P, T]}; 'oracle' among them where it is known.
    pictures: [P, Y, X, 3] in [0, 1].
    lat: [P] degrees.
    lon: [P] degrees.
    time: [P] hours since 1970 UTC.
  """

  modality: modalities.Modality
  truth: np.ndarray
  samples: np.ndarray
  greedy: np.ndarray
  yardsticks: Mapping[str, np.ndarray]
  pictures: np.ndarray
  lat: np.ndarray
  lon: np.ndarray
  time: np.ndarray

  @property
  def leads(self) -> tuple[int, ...]:
    """Lead times [T], hours or days from the acquisition."""
    return self.modality.leads

  @property
  def is_hourly(self) -> bool:
    """Whether leads count hours, not days."""
    return self.modality.name.endswith('hourly')

  @property
  def predictions(self) -> dict[str, np.ndarray]:
    """Predictions {name: [P, T]}, first the mean of the model's samples."""
    own = {
      'model': self.samples.mean(axis=1),
      'greedy': self.greedy,
      'one_sample': self.samples[:, 0],
    }
    return own | dict(self.yardsticks)


def score(forecast: Forecast) -> dict[str, float]:
  """Computes R2, MSE and MAE by lead and overall, CRPS and coverage.

  Args:
    forecast: generated series beside the truth.

  Returns:
    {path: number}. Paths are 'eval/<series>/r2_lead_0' for the mean of the
    samples and 'eval/<series>/<name>/r2_lead_0' for every other prediction.
  """
  scores = {}
  for name, prediction in forecast.predictions.items():
    prefix = f'eval/{forecast.modality.name}/'
    prefix += '' if name == 'model' else f'{name}/'
    for path, value in _point_scores(forecast, prediction).items():
      scores[prefix + path] = value
  sampled = {
    'crps': metrics.crps(forecast.samples, forecast.truth),
    'coverage_90': metrics.coverage(forecast.samples, forecast.truth),
  }
  for path, total in sampled.items():
    by_lead = metrics.mean(total)
    prefix = f'eval/{forecast.modality.name}/{path}'
    scores[prefix] = float(metrics.mean(metrics.pooled(total)))
    for i in _named_leads(forecast):
      scores[f'{prefix}_lead_{forecast.leads[i]}'] = float(by_lead[i])
  scores[f'eval/{forecast.modality.name}/num_places'] = len(forecast.truth)
  return scores


def table(forecast: Forecast) -> str:
  """Makes a Markdown table, a row for each prediction.

  R2 stands with its 95 % interval over places.

  Args:
    forecast: generated series beside the truth.
  """
  shown = (forecast.leads[0], 0, forecast.leads[-1])
  unit = forecast.modality.unit
  header = [
    'prediction',
    *(f'R² at {lead}' for lead in shown),
    'R², all',
    f'MAE ({unit})',
    f'RMSE ({unit})',
    f'CRPS ({unit})',
    '90 % interval covers',
  ]
  scores, rows = score(forecast), []
  for name, prediction in forecast.predictions.items():
    prefix = f'eval/{forecast.modality.name}/'
    prefix += '' if name == 'model' else f'{name}/'
    low, high = metrics.r2_interval(prediction, forecast.truth)
    where = [forecast.leads.index(lead) for lead in shown] + [-1]
    paths = [*(f'r2_lead_{lead}' for lead in shown), 'r2']
    r2 = [
      tables.with_interval(scores[prefix + path], (low[i], high[i]))
      for path, i in zip(paths, where)
    ]
    sampled = (
      (
        tables.number(scores[f'{prefix}crps'], 2),
        f'{scores[f"{prefix}coverage_90"]:.1%}',
      )
      if name == 'model'
      else ('', '')
    )
    rows.append(
      [
        plots.LABELS.get(name, name),
        *r2,
        tables.number(scores[prefix + 'mae'], 2),
        tables.number(scores[prefix + 'mse'] ** 0.5, 2),
        *sampled,
      ]
    )
  return tables.markdown(header, rows)


def figures(
  forecast: Forecast, directory: pathlib.Path, num_places: int = 8
) -> list[tuple[pathlib.Path, str]]:
  """Draws all figures of a forecast.

  Args:
    forecast: generated series beside the truth.
    directory: existing folder to write to.
    num_places: number of places in the profiles, taken evenly out of all.

  Returns:
    [(path, caption)].
  """
  drawn = [_draw_profiles(forecast, directory, num_places)]
  if np.isfinite(forecast.truth[:, forecast.leads.index(0)]).any():
    drawn.append(_draw_parity(forecast, directory))
  return [*drawn, _draw_errors(forecast, directory)]


def _draw_profiles(
  forecast: Forecast, directory: pathlib.Path, num_places: int
) -> tuple[pathlib.Path, str]:
  """Series of single places beside their images."""
  name = forecast.modality.name
  chosen = np.unique(
    np.linspace(0, len(forecast.truth) - 1, num_places).astype(int)
  )
  path = directory / f'{name}_profiles.png'
  oracle = forecast.yardsticks.get('oracle')
  forecast_plots.profiles(
    path,
    forecast.pictures[chosen],
    forecast.leads,
    forecast.truth[chosen],
    forecast.samples[chosen],
    None if oracle is None else oracle[chosen],
    [_title(forecast, i) for i in chosen],
    forecast.modality.unit,
    _lead_unit(forecast),
  )
  return path, (
    f'`{name}` generated from the image alone, at '
    f'{len(chosen)} of {len(forecast.truth)} held-out places'
  )


def _draw_parity(
  forecast: Forecast, directory: pathlib.Path
) -> tuple[pathlib.Path, str]:
  """Predictions at the acquisition against the truth."""
  name, lead = forecast.modality.name, forecast.leads.index(0)
  compared = {
    key: x
    for key, x in forecast.predictions.items()
    if key in ('model', 'linear_regression', 'oracle')
  }
  path = directory / f'{name}_parity.png'
  forecast_plots.parity(
    path,
    forecast.truth[:, lead],
    {key: x[:, lead] for key, x in compared.items()},
    {
      key: metrics.r2_by_lead(x, forecast.truth)[lead]
      for key, x in compared.items()
    },
    forecast.modality.unit,
  )
  return path, (
    f'`{name}` at the acquisition: prediction against truth, one dot for each '
    'held-out place'
  )


def _draw_errors(
  forecast: Forecast, directory: pathlib.Path
) -> tuple[pathlib.Path, str]:
  """Errors of all predictions by lead time."""
  name = forecast.modality.name
  path = directory / f'{name}_error_by_lead.png'
  forecast_plots.error_by_lead(
    path,
    forecast.leads,
    {
      key: metrics.mean(metrics.squared_error(x, forecast.truth)) ** 0.5
      for key, x in forecast.predictions.items()
    },
    forecast.modality.unit,
    _lead_unit(forecast),
  )
  return path, (
    f'`{name}`: error by lead time over {len(forecast.truth)} held-out places'
  )


def _lead_unit(forecast: Forecast) -> str:
  return 'hours' if forecast.is_hourly else 'days'


def write_by_lead(
  forecast: Forecast, directory: str | pathlib.Path
) -> pathlib.Path:
  """Writes R2 and RMSE of every prediction at every lead as CSV.

  Args:
    forecast: generated series beside the truth.
    directory: existing folder to write to.

  Returns:
    Path of `<series>_by_lead.csv`.
  """
  columns: dict[str, np.ndarray | tuple[int, ...]] = {'lead': forecast.leads}
  for name, prediction in forecast.predictions.items():
    error = metrics.mean(metrics.squared_error(prediction, forecast.truth))
    columns[f'{name}_r2'] = metrics.r2_by_lead(prediction, forecast.truth)
    columns[f'{name}_rmse'] = error**0.5
  path = pathlib.Path(directory) / f'{forecast.modality.name}_by_lead.csv'
  with path.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    for lead, *values in zip(*columns.values()):
      writer.writerow([lead, *(f'{value:.5f}' for value in values)])
  return path


def _point_scores(
  forecast: Forecast, prediction: np.ndarray
) -> dict[str, float]:
  """Scores of one predicted series for each place, [P, T]."""
  r2 = metrics.r2_by_lead(prediction, forecast.truth)
  scores = {'r2': metrics.r2(prediction, forecast.truth)}
  scores |= {
    f'r2_lead_{forecast.leads[i]}': float(r2[i]) for i in _named_leads(forecast)
  }
  for name, error in (
    ('mse', metrics.squared_error),
    ('mae', metrics.absolute_error),
  ):
    total = error(prediction, forecast.truth)
    scores[name] = float(metrics.mean(metrics.pooled(total)))
    by_lead = metrics.mean(total)
    scores |= {
      f'{name}_lead_{forecast.leads[i]}': float(by_lead[i])
      for i in _named_leads(forecast)
    }
  return scores


def _named_leads(forecast: Forecast) -> list[int]:
  """Indices of the leads that get numbers."""
  named = HOURLY if forecast.is_hourly else DAILY
  return [forecast.leads.index(lead) for lead in named]


def _title(forecast: Forecast, place: int) -> str:
  """Place and time of an acquisition as text."""
  lat, lon = forecast.lat[place], forecast.lon[place]
  day, hour = str(np.datetime64(int(forecast.time[place]), 'h')).split('T')
  return (
    f'{abs(lat):.1f}°{"N" if lat >= 0 else "S"} '
    f'{abs(lon):.1f}°{"E" if lon >= 0 else "W"}\n{day} {hour} UTC'
  )
