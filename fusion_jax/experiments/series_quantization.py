"""The fusion paper's Tables 1 and 4 on real weather, and bins of rain.

Trains the tokenizers that are not trained yet, one after another, with
configs/series_tokenizer.py as it stands. Hourly temperature is ERA5's, of
held-out places and days; precipitation is that of the airports of New York.
"""

import dataclasses
import pathlib
from collections.abc import Mapping

from fusion_jax.configs import series_tokenizer as config_lib
from fusion_jax.experiments import pages, training
from fusion_jax.types import Config

_TEMPERATURE, _PRECIPITATION = 'test/t2m_hourly/', 'test/tp_hourly/'
_BIN_WIDTH_K = (318 - 225) / 500
# The fusion paper's figures: (MSE, MAE) of Table 1; (tokens used, MSE, MAE,
# R2) of Table 4.
_TABLE_1 = {
  'uniform_fixed': (0.0029, 0.0469),
  'quantile': (0.0493, 0.0510),
  'fsq': (0.0023, 0.0366),
}
_TABLE_4 = {
  '8-8-8': (42, 0.0102, 0.0778, 0.9999),
  '4-4-4-4': (87, 0.0129, 0.0861, 0.9999),
  '3-3-3-3-3': (128, 0.0111, 0.0792, 0.9999),
  '8-8-8-8': (313, 0.0023, 0.0366, 0.9999),
}
_LABELS = {
  'uniform_fixed': 'uniform, 225 .. 318 K',
  'uniform': 'uniform, training range',
  'quantile': 'quantile',
  'fsq': 'FSQ 8-8-8-8',
}
_Numbers = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class SeriesQuantization:
  """Quantisers of weather series beside the paper's.

  Attributes:
    workdir: folder of runs and data; what is trained there is not trained
      again.
  """

  workdir: str = 'runs/quantization'

  def run(self) -> list[pages.Table]:
    """Trains what is missing; returns Table 1, Table 4 and precipitation."""
    largest = config_lib.LEVELS[-1]
    temperature = {
      levels: self._metrics(levels, 'era5')
      for levels in config_lib.LEVELS[::-1]
    }
    precipitation = self._metrics(largest, 'airports')
    return [
      approaches_table(temperature[largest]),
      levels_table(temperature),
      precipitation_table(precipitation),
    ]

  def _metrics(self, levels: str, data: str) -> _Numbers:
    """Returns the metrics of one run, which is trained first if needed."""
    workdir = pathlib.Path(self.workdir)
    path = workdir / f'{data}_{levels}'
    if not training.is_finished(path):
      config: Config = config_lib.get_config(f'levels={levels},data={data}')
      config.data.dir = str(workdir / f'data_{data}')
      training.finish(config, path)
    return training.read_metrics(path)


def approaches_table(numbers: _Numbers) -> pages.Table:
  """Returns quantisers of temperature with the paper's Table 1 beside them.

  Args:
    numbers: metrics of the run with levels 8-8-8-8 on ERA5.
  """
  rows = []
  for approach, label in _LABELS.items():
    paper_mse, paper_mae = _TABLE_1.get(approach, ('', ''))
    start = f'{_TEMPERATURE}{approach}/'
    rows.append(
      (
        label,
        int(numbers[f'{start}used']),
        round(numbers[f'{start}mse'], 5),
        round(numbers[f'{start}mae'], 4),
        round(numbers[f'{start}r2'], 5),
        round(numbers[f'{start}clipped'], 4),
        paper_mse,
        paper_mae,
      )
    )
  return pages.Table(
    'Table 1: hourly temperature',
    (
      'approach',
      'tokens used',
      'MSE (K^2)',
      'MAE (K)',
      'R2',
      'outside the bins',
      'paper MSE',
      'paper MAE',
    ),
    tuple(rows),
    'ERA5, March 2019, 58..50 N, 10 W..2 E: trained on 10 W..4.75 W and the '
    'first 20 days, measured on 2.75 W..2 E and the last 7. No hour and no '
    'neighbouring cell is shared. The paper used other data. Theory for bins '
    f'of w = {_BIN_WIDTH_K:.3f} K: MSE w^2/12 = {_BIN_WIDTH_K**2 / 12:.5f} '
    f'K^2, MAE w/4 = {_BIN_WIDTH_K / 4:.4f} K.',
  )


def levels_table(numbers_by_levels: Mapping[str, _Numbers]) -> pages.Table:
  """Returns the FSQ settings with the paper's Table 4 beside them.

  Args:
    numbers_by_levels: {levels: metrics of the run on ERA5}.
  """
  rows = []
  for levels in config_lib.LEVELS:
    numbers, start = numbers_by_levels[levels], f'{_TEMPERATURE}fsq/'
    rows.append(
      (
        levels,
        int(numbers[f'{start}used']),
        round(numbers[f'{start}perplexity'], 1),
        round(numbers[f'{start}mse'], 5),
        round(numbers[f'{start}mae'], 4),
        round(numbers[f'{start}r2'], 5),
        *_TABLE_4[levels],
        round(numbers['duration_s'] / 60, 1),
        round(numbers['processor_s'] / 60, 1),
      )
    )
  return pages.Table(
    'Table 4: FSQ settings',
    (
      'levels',
      'tokens used',
      'perplexity',
      'MSE (K^2)',
      'MAE (K)',
      'R2',
      'paper used',
      'paper MSE',
      'paper MAE',
      'paper R2',
      'minutes',
      'processor minutes',
    ),
    tuple(rows),
    'The data of Table 1. Minutes are those of the whole run on a machine that '
    'other work shared; those of its processor time stand beside them.',
  )


def precipitation_table(numbers: _Numbers) -> pages.Table:
  """Returns quantisers of hourly precipitation; the paper has no such table.

  Args:
    numbers: metrics of the run with levels 8-8-8-8 on the airports.
  """
  rows = []
  for approach in ('uniform', 'quantile', 'fsq'):
    start = f'{_PRECIPITATION}{approach}/'
    rows.append(
      (
        _LABELS[approach],
        int(numbers[f'{start}used']),
        round(numbers[f'{start}perplexity'], 2),
        round(numbers[f'{start}mse'], 5),
        round(numbers[f'{start}mae'], 5),
        round(numbers[f'{start}r2'], 5),
      )
    )
  return pages.Table(
    'Hourly precipitation',
    (
      'approach',
      'tokens used',
      'perplexity',
      'MSE (mm^2)',
      'MAE (mm)',
      'R2',
    ),
    tuple(rows),
    'Airports of New York, 2013: bins fitted on wet hours of EWR, January to '
    'August; measured on JFK and LGA, October to December, where 5 % of the '
    'hours are wet. [ZERO] counts as a token. With bins every dry hour is '
    '[ZERO] and every missing one [NULL], as '
    'tests/evals/test_series_reconstruction.py asserts of these values; FSQ '
    'has a code for a dry hour.',
  )
