"""Generated series beside the truth: scores, a table, figures.

A point prediction is the mean of the
samples, R2 is 1 - SSE / SST pooled over held-out places.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusion_jax.evals import plots, tables
from fusion_jax.ops import metrics

# Leads that get a number of their own, where the series has them.
HOURLY = (-47, -36, -24, -12, -6, 0, 6, 12)
DAILY = (-29, -14, -7, -1, 0, 1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Forecast:
  """Generated series of P places beside the truth, in the series' unit.

  Attributes:
    modality: `Modality` of the series, T leads.
    truth: [P, T], NaN = missing.
    samples: [P, S, T].
    greedy: [P, T].
    yardsticks: {name: [P, T]}; 'oracle' among them where it is known.
    pictures: [P, Y, X, 3] in [0, 1].
    lat: [P] degrees.
    lon: [P] degrees.
    time: [P] hours since 1970 UTC.
  """

  modality: Any
  truth: np.ndarray
  samples: np.ndarray
  greedy: np.ndarray
  yardsticks: Mapping[str, np.ndarray]
  pictures: np.ndarray
  lat: np.ndarray
  lon: np.ndarray
  time: np.ndarray

  @property
  def leads(self):
    return self.modality.leads

  @property
  def is_hourly(self):
    return self.modality.name.endswith('hourly')

  @property
  def predictions(self):
    """{name: [P, T]}, the model's own first: the mean of its samples."""
    own = {
      'model': self.samples.mean(axis=1),
      'greedy': self.greedy,
      'one_sample': self.samples[:, 0],
    }
    return own | dict(self.yardsticks)


def score(forecast):
  """{path: number}: R2, MSE, MAE by lead and overall, CRPS and coverage.

  Paths are 'eval/<series>/r2_lead_0' for the mean of the samples and
  'eval/<series>/<name>/r2_lead_0' for every other prediction.
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


def table(forecast):
  """Markdown: one row a prediction; R2 with its 95 % interval over places."""
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


def figures(forecast, directory, num_places=8):
  """Draws all figures of a forecast.

  Args:
    forecast: `Forecast`.
    directory: existing one, to write to.
    num_places: shown in the profiles, evenly out of all.

  Returns:
    [(path, caption)].
  """
  name, unit = forecast.modality.name, forecast.modality.unit
  per = 'hours' if forecast.is_hourly else 'days'
  chosen = np.unique(
    np.linspace(0, len(forecast.truth) - 1, num_places).astype(int)
  )
  paths = {
    kind: directory / f'{name}_{kind}.png'
    for kind in ('profiles', 'parity', 'error_by_lead')
  }
  oracle = forecast.yardsticks.get('oracle')
  plots.profiles(
    paths['profiles'],
    forecast.pictures[chosen],
    forecast.leads,
    forecast.truth[chosen],
    forecast.samples[chosen],
    None if oracle is None else oracle[chosen],
    [_title(forecast, i) for i in chosen],
    unit,
    per,
  )
  at = forecast.leads.index(0)
  compared = {
    key: x
    for key, x in forecast.predictions.items()
    if key in ('model', 'linear_regression', 'oracle')
  }
  measured = np.isfinite(forecast.truth[:, at]).any()
  if measured:
    plots.parity(
      paths['parity'],
      forecast.truth[:, at],
      {key: x[:, at] for key, x in compared.items()},
      {
        key: metrics.r2_by_lead(x, forecast.truth)[at]
        for key, x in compared.items()
      },
      unit,
    )
  plots.error_by_lead(
    paths['error_by_lead'],
    forecast.leads,
    {
      key: metrics.mean(metrics.squared_error(x, forecast.truth)) ** 0.5
      for key, x in forecast.predictions.items()
    },
    unit,
    per,
  )
  return [
    (
      paths['profiles'],
      f'`{name}` generated from the image alone, at '
      f'{len(chosen)} of {len(forecast.truth)} held-out places',
    ),
    *(
      [
        (
          paths['parity'],
          f'`{name}` at the acquisition: prediction against '
          'truth, one dot a held-out place',
        )
      ]
      if measured
      else []
    ),
    (
      paths['error_by_lead'],
      f'`{name}`: error by lead time over '
      f'{len(forecast.truth)} held-out places',
    ),
  ]


def write_by_lead(forecast, directory):
  """Writes R2 and RMSE of every prediction at every lead as CSV.

  Returns:
    Path of `<series>_by_lead.csv`.
  """
  columns = {'lead': forecast.leads}
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


def _point_scores(forecast, prediction):
  """Scores of one series a place, [P, T]."""
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


def _named_leads(forecast):
  """Indices of the leads that get numbers."""
  named = HOURLY if forecast.is_hourly else DAILY
  return [forecast.leads.index(lead) for lead in named]


def _title(forecast, place):
  lat, lon = forecast.lat[place], forecast.lon[place]
  day, hour = str(np.datetime64(int(forecast.time[place]), 'h')).split('T')
  return (
    f'{abs(lat):.1f}°{"N" if lat >= 0 else "S"} '
    f'{abs(lon):.1f}°{"E" if lon >= 0 else "W"}\n{day} {hour} UTC'
  )
