r"""The paper's Tables 1 and 4 on real weather, and plain bins on precipitation.

  python -m benchmarks.quantization_tables [--runs=runs/quantization]

Trains the tokenizers that are not trained yet, one after another, with
configs/series_tokenizer.py as it stands, and writes quantization.md and
quantization.csv. Hourly temperature is ERA5's, of held-out places and days;
precipitation is that of the airports of New York.
"""

import csv
import json
import pathlib

import jax
from absl import app, flags

from fusion_jax import runs as runs_lib
from fusion_jax.configs import series_tokenizer as config_lib
from fusion_jax.evals import report, tables

_RUNS = flags.DEFINE_string(
  'runs', 'runs/quantization', 'Where runs and data go.'
)
_OUT = flags.DEFINE_string(
  'out', 'benchmarks/results', 'Folder of the two files.'
)

T2M, TP = 'test/t2m_hourly/', 'test/tp_hourly/'
WIDTH_K = (318 - 225) / 500
# The fusion paper's figures: (MSE, MAE) of Table 1; (tokens used, MSE, MAE,
# R2) of Table 4.
TABLE_1 = {
  'uniform_fixed': (0.0029, 0.0469),
  'quantile': (0.0493, 0.0510),
  'fsq': (0.0023, 0.0366),
}
TABLE_4 = {
  '8-8-8': (42, 0.0102, 0.0778, 0.9999),
  '4-4-4-4': (87, 0.0129, 0.0861, 0.9999),
  '3-3-3-3-3': (128, 0.0111, 0.0792, 0.9999),
  '8-8-8-8': (313, 0.0023, 0.0366, 0.9999),
}
LABELS = {
  'uniform_fixed': 'uniform, 225 .. 318 K',
  'uniform': 'uniform, training range',
  'quantile': 'quantile',
  'fsq': 'FSQ 8-8-8-8',
}


def run(levels, data, workdir):
  """The metrics of one run, which is trained first if it is not there."""
  path = workdir / f'{data}_{levels}'
  if not (path / 'metrics.json').exists():
    config = config_lib.get_config(f'levels={levels},data={data}')
    config.data.dir = str(workdir / f'data_{data}')
    runs_lib.run(config, path)
  return json.loads((path / 'metrics.json').read_text())


def table_1(numbers):
  """Rows of the approaches on temperature, the paper's figures beside them."""
  rows = []
  for approach, label in LABELS.items():
    paper = TABLE_1.get(approach, ('', ''))
    mine = {
      key: numbers[f'{T2M}{approach}/{key}']
      for key in ('used', 'mse', 'mae', 'r2', 'clipped')
    }
    rows.append(
      {
        'approach': label,
        'tokens used': int(mine['used']),
        'MSE (K^2)': round(mine['mse'], 5),
        'MAE (K)': round(mine['mae'], 4),
        'R2': round(mine['r2'], 5),
        'outside the bins': round(mine['clipped'], 4),
        'paper MSE': paper[0],
        'paper MAE': paper[1],
      }
    )
  return rows


def table_4(runs):
  """Rows of the FSQ settings."""
  rows = []
  for levels in config_lib.LEVELS:
    numbers, paper = runs[levels], TABLE_4[levels]
    used, mse, mae, r2, perplexity = (
      numbers[f'{T2M}fsq/{key}']
      for key in ('used', 'mse', 'mae', 'r2', 'perplexity')
    )
    rows.append(
      {
        'levels': levels,
        'tokens used': int(used),
        'perplexity': round(perplexity, 1),
        'MSE (K^2)': round(mse, 5),
        'MAE (K)': round(mae, 4),
        'R2': round(r2, 5),
        'paper used': paper[0],
        'paper MSE': paper[1],
        'paper MAE': paper[2],
        'paper R2': paper[3],
        'minutes': round(numbers['duration_s'] / 60, 1),
        'processor minutes': round(numbers['processor_s'] / 60, 1),
      }
    )
  return rows


def precipitation(numbers):
  """Rows of the approaches on precipitation."""
  return [
    {
      'approach': LABELS[approach],
      'tokens used': int(numbers[f'{TP}{approach}/used']),
      'perplexity': round(numbers[f'{TP}{approach}/perplexity'], 2),
      'MSE (mm^2)': round(numbers[f'{TP}{approach}/mse'], 5),
      'MAE (mm)': round(numbers[f'{TP}{approach}/mae'], 5),
      'R2': round(numbers[f'{TP}{approach}/r2'], 5),
    }
    for approach in ('uniform', 'quantile', 'fsq')
  ]


def markdown(found, command):
  """The page of results."""

  def table(rows):
    return tables.markdown(
      list(rows[0]),
      [
        [
          cell if isinstance(cell, str) else f'{cell:g}'
          for cell in row.values()
        ]
        for row in rows
      ],
    )

  facts = tables.markdown(
    ('what', 'value'), [row for row in report.facts(command=command)]
  )
  return (
    '\n\n'.join(
      [
        '# Quantisation of real weather',
        facts,
        '## Table 1: hourly temperature',
        'ERA5, March 2019, 58..50 N, 10 W..2 E: trained on 10 W..4.75 W and '
        'the first 20 days, measured on 2.75 W..2 E and the last 7. No hour and no '
        'neighbouring cell is shared. The paper used other data.',
        table(found['table 1']),
        f'Theory for bins of w = {WIDTH_K:.3f} K: MSE w^2/12 = '
        f'{WIDTH_K**2 / 12:.5f} K^2, MAE w/4 = {WIDTH_K / 4:.4f} K.',
        '## Table 4: FSQ settings',
        'The same data. Minutes are those of the whole run on a machine that '
        'other work shared; those of its processor time are beside them.',
        table(found['table 4']),
        '## Hourly precipitation',
        'Airports of New York, 2013: bins fitted on '
        'wet hours of EWR, January to August; measured on JFK and LGA, October '
        'to December, where 5 % of the hours are wet. [ZERO] counts as a '
        'token. With bins every dry hour is [ZERO] and every missing one [NULL], as '
        'tests/evals/test_series_reconstruction.py asserts of these values; '
        'FSQ has a code for a dry hour.',
        table(found['precipitation']),
      ]
    )
    + '\n'
  )


def main(argv):
  if len(argv) > 1:
    raise app.UsageError(f'{argv[1:]} is not understood; see --help.')
  workdir, out = pathlib.Path(_RUNS.value), pathlib.Path(_OUT.value)
  runs = {
    levels: run(levels, 'era5', workdir) for levels in config_lib.LEVELS[::-1]
  }
  rain = run(config_lib.LEVELS[-1], 'airports', workdir)
  found = {
    'table 1': table_1(runs[config_lib.LEVELS[-1]]),
    'table 4': table_4(runs),
    'precipitation': precipitation(rain),
  }
  text = markdown(found, 'python -m benchmarks.quantization_tables')
  (out / 'quantization.md').write_text(text)
  with open(out / 'quantization.csv', 'w', newline='') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(('table', 'row', 'column', 'value'))
    for table, rows in found.items():
      for row in rows:
        (_, name), *cells = row.items()
        writer.writerows(
          (table, name, column, value) for column, value in cells if value != ''
        )
  print(text)


if __name__ == '__main__':
  jax.config.config_with_absl()
  app.run(main)
