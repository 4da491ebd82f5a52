"""What can be run, what it needs, and what the papers report."""

import dataclasses
import difflib
import importlib
import pathlib
from typing import Protocol

from fusion_jax.experiments import pages


class Study(Protocol):
  """The arguments of one experiment, as a frozen dataclass."""

  def run(self) -> list[pages.Table]:
    """Trains what is missing and returns the tables of results."""
    ...


@dataclasses.dataclass(frozen=True)
class Metric:
  """A figure of an experiment that is compared.

  Attributes:
    table: title of the table that holds it.
    row: text of the first cell of its row.
    column: name of its column.
    paper: what the paper reports in the same unit, or None.
    tolerance: largest absolute difference between two runs of the same
      command that is expected, in the unit of the column.
  """

  table: str
  row: str
  column: str
  paper: float | None
  tolerance: float


@dataclasses.dataclass(frozen=True)
class Experiment:
  """An entry of the registry.

  Attributes:
    title: heading of the result page.
    paper: which tables and figures of which paper it repeats.
    configuration: recipe card that is trained, with its argument.
    data: what has to be at hand, and whether it is simulated or real.
    minutes: expected minutes on two CPU cores.
    metrics: figures that are compared with the paper.
    study: 'module.Class' below this package; a frozen dataclass of arguments
      with the method `run`.
    result: file name, without its ending, of the page and of the CSV.
  """

  title: str
  paper: str
  configuration: str
  data: str
  minutes: float
  metrics: tuple[Metric, ...]
  study: str
  result: str

  def load_study(self) -> type[Study]:
    """Returns the class of arguments; imports what the study needs."""
    module, name = self.study.split('.')
    return getattr(
      importlib.import_module(f'fusion_jax.experiments.{module}'), name
    )


EXPERIMENTS = {
  'series-quantization': Experiment(
    title='Quantisation of real weather',
    paper='Fusion paper, Tables 1 and 4; the paper used other data',
    configuration='configs/series_tokenizer.py:levels=...,data=...',
    data='ERA5 and airport files of tests/testdata, real, no download',
    minutes=50,
    metrics=(
      Metric(
        'Table 1: hourly temperature',
        'uniform, 225 .. 318 K',
        'MSE (K^2)',
        0.0029,
        0.0001,
      ),
      Metric(
        'Table 1: hourly temperature', 'FSQ 8-8-8-8', 'MSE (K^2)', 0.0023, 0.001
      ),
      Metric('Table 4: FSQ settings', '8-8-8', 'R2', 0.9999, 0.0003),
      Metric('Table 4: FSQ settings', '4-4-4-4', 'R2', 0.9999, 0.0003),
      Metric('Table 4: FSQ settings', '3-3-3-3-3', 'R2', 0.9999, 0.0003),
      Metric('Table 4: FSQ settings', '8-8-8-8', 'R2', 0.9999, 0.0003),
    ),
    study='series_quantization.SeriesQuantization',
    result='series_quantization',
  ),
  'pixel-alignment': Experiment(
    title="Alignment of a pixel's year with ground photos",
    paper='TimeSenCLIP, Tables 2, 3, 5 and 6, Figs. 3 and 4',
    configuration='configs/align_pixels.py',
    data='simulated places, no download',
    minutes=120,
    metrics=(
      Metric('Zero-shot', 'land cover, monthly', 'zero-shot', None, 0.02),
      Metric('Zero-shot', 'crops, monthly', 'zero-shot', None, 0.04),
      Metric('Zero-shot', 'crops, single', 'zero-shot', None, 0.03),
    ),
    study='pixel_alignment.PixelAlignment',
    result='pixel_alignment',
  ),
  'labelled-pixels': Experiment(
    title='Real labelled pixels beside a random forest',
    paper='no table of the papers; data of WorldCereal and Presto',
    configuration='configs/worldcereal.py',
    data=(
      'files of github.com/WorldCereal/worldcereal-classification and '
      'github.com/nasaharvest/presto, real, both MIT'
    ),
    minutes=15,
    metrics=(
      Metric('Scores', 'flanders, encoder', 'value', None, 0.05),
      Metric('Scores', 'east_africa, encoder', 'value', None, 0.05),
      Metric('Scores', 'fuel_moisture, encoder', 'value', None, 0.04),
      Metric('Scores', 'algae_blooms, encoder', 'value', None, 0.05),
    ),
    study='labelled_pixels.LabelledPixels',
    result='labelled_pixels',
  ),
}


def get(name: str) -> Experiment:
  """Returns an entry by its name.

  Raises:
    ValueError: if there is none; the nearest name is suggested.
  """
  if name in EXPERIMENTS:
    return EXPERIMENTS[name]
  nearest = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0)
  raise ValueError(
    f'There is no experiment {name!r}; did you mean {nearest[0]!r}? There are '
    f'{", ".join(EXPERIMENTS)}.'
  )


def run(name: str, study: Study, out: str | pathlib.Path) -> pathlib.Path:
  """Runs an experiment and writes its CSV and its page.

  Args:
    name: key of `EXPERIMENTS`.
    study: arguments; an instance of `get(name).load_study()`.
    out: folder of the two files.

  Returns:
    Path of the page; the CSV lies beside it.
  """
  experiment = get(name)
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  path = out / f'{experiment.result}.csv'
  pages.write_csv(path, [pages.facts(experiment.configuration), *study.run()])
  return print_page(name, out)


def print_page(name: str, out: str | pathlib.Path) -> pathlib.Path:
  """Writes the page of an experiment from its CSV alone.

  Args:
    name: key of `EXPERIMENTS`.
    out: folder that holds the CSV, and gets the page.

  Returns:
    Path of the page.
  """
  experiment = get(name)
  tables = pages.read_csv(pathlib.Path(out) / f'{experiment.result}.csv')
  lines = [
    f'# {experiment.title}',
    f'`python -m fusion_jax.experiments {name}`. Paper: {experiment.paper}. '
    f'Data: {experiment.data}. About '
    f'{experiment.minutes:g} minutes on two CPU cores.',
    *(block for table in tables for block in table.blocks()),
    *_comparison(experiment.metrics, tables),
  ]
  path = pathlib.Path(out) / f'{experiment.result}.md'
  path.write_text('\n\n'.join(lines) + '\n')
  return path


def _comparison(
  metrics: tuple[Metric, ...], tables: list[pages.Table]
) -> list[str]:
  """Blocks of the table that lays our figures beside the paper's."""
  rows = []
  for metric in metrics:
    value = pages.look_up(tables, metric.table, metric.row, metric.column)
    if value is not None:
      rows.append(
        (
          f'{metric.table}: {metric.row}, {metric.column}',
          value,
          'none' if metric.paper is None else f'{metric.paper:g}',
          f'± {metric.tolerance:g}',
        )
      )
  if not rows:
    return []
  header = ('figure', 'ours', 'paper', 'expected between two runs')
  return pages.Table('Compared', header, tuple(rows)).blocks()
