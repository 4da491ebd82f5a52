"""The whole study of TimeSenCLIP on the simulated Earth, over seeds.

Trains what is missing (a killed study goes on): the alignment for every seed,
spatial context and augmentation, and the supervised bounds. The tables are
zero-shot classification beside the supervised bound, retrieval, and, where
several augmentations or sides were run, Tables 5 and 6 and Figs. 3 and 4. A
seed is the seed of the training; the simulated Earth is the same for all.
"""

import dataclasses
import json
import pathlib
import time
from collections.abc import Mapping, Sequence

from fusion_jax.configs import align_pixels as config_lib
from fusion_jax.evals import (
  ablation,
  alignment_tables,
  retrieval,
  spatial_context,
  tables,
)
from fusion_jax.experiments import pages, training
from fusion_jax.types import Config

LABELS = ('land_cover', 'land_use', 'eunis', 'bioregion', 'crops')
SETTINGS = ('single', 'quarterly', 'monthly')
_SPLIT = 'test'
_Numbers = Mapping[str, float]
# Metrics of runs, one for each seed.
_Seeds = Sequence[_Numbers]


@dataclasses.dataclass(frozen=True)
class PixelAlignment:
  """Alignment of pixels with photos over seeds, augmentations and sides.

  Attributes:
    workdir: folder of runs and data; what is trained there is not trained
      again.
    seeds: seeds of the training of the alignment.
    augmentations: values of config.augment.kind; the first one is the model
      of the first tables.
    sides: pixels per side of the input; the first one is that of the first
      tables.
    supervised: supervised bounds as 'label:setting'; ('all',) for every
      label with every setting.
    supervised_seeds: seeds of the training of the supervised bounds.
    steps: training steps of the alignment; 0 takes those of the configuration.
  """

  workdir: str = 'runs/pixel_alignment'
  seeds: tuple[int, ...] = (0, 1, 2)
  augmentations: tuple[str, ...] = ('tsdrop', 'none')
  sides: tuple[int, ...] = (1,)
  supervised: tuple[str, ...] = ('land_cover:monthly',)
  supervised_seeds: tuple[int, ...] = (0, 1, 2)
  steps: int = 0

  def run(self) -> list[pages.Table]:
    """Trains what is missing and returns all tables that the runs allow."""
    aligned: dict[tuple[str, int], list[_Numbers]] = {}
    for seed in self.seeds:
      for side in self.sides:
        for kind in self.augmentations:
          aligned.setdefault((kind, side), []).append(
            self._metrics(
              f'{kind}_{side}', f'augment={kind},side={side}', seed, self.steps
            )
          )
    bounds = {
      (label, setting): [
        self._metrics(
          f'supervised_{label}_{setting}',
          f'supervised={label},setting={setting}',
          seed,
        )
        for seed in self.supervised_seeds
      ]
      for label, setting in self._bounds()
    }
    return [*self._tables(aligned, bounds), times_table(self._workdir)]

  @property
  def _workdir(self) -> pathlib.Path:
    return pathlib.Path(self.workdir)

  def _bounds(self) -> list[tuple[str, str]]:
    """Returns the labels and settings of the supervised bounds."""
    if self.supervised == ('all',):
      return [(label, setting) for label in LABELS for setting in SETTINGS]
    pairs = [tuple(pair.split(':')) for pair in self.supervised]
    for pair in pairs:
      if len(pair) != 2 or pair[0] not in LABELS or pair[1] not in SETTINGS:
        raise ValueError(
          f'supervised={":".join(pair)!r} is not a label and a setting; write '
          f"'label:setting' with a label of {', '.join(LABELS)} and a setting "
          f'of {", ".join(SETTINGS)}.'
        )
    return [(label, setting) for label, setting in pairs]

  def _metrics(
    self, name: str, argument: str, seed: int, steps: int = 0
  ) -> _Numbers:
    """Returns the metrics of a run, which is trained first if needed."""
    folder = self._workdir / name / str(seed)
    if not training.is_finished(folder):
      config: Config = config_lib.get_config(argument)
      config.seed = seed
      config.data.dir = str(self._workdir / f'data_{config.model.side}')
      if steps:
        config.num_steps = steps
      processor_start, clock_start = time.process_time(), time.perf_counter()
      training.finish(config, folder)
      seconds = {
        'cpu_s': time.process_time() - processor_start,
        'clock_s': time.perf_counter() - clock_start,
      }
      (folder / 'time.json').write_text(json.dumps(seconds))
    return training.read_metrics(folder)

  def _tables(
    self,
    aligned: Mapping[tuple[str, int], _Seeds],
    bounds: Mapping[tuple[str, str], _Seeds],
  ) -> list[pages.Table]:
    """Returns the tables of results, without those of time."""
    first = {kind: aligned[kind, self.sides[0]] for kind in self.augmentations}
    model = first[self.augmentations[0]]
    result = [zero_shot_table(model, bounds), retrieval_table(model)]
    if len(first) > 1:
      result.append(dropout_table(first))
      retrieved = ('land_cover', 'eunis', 'bioregion', 'crops', 'country')
      for number, labels in ((5, LABELS), (6, retrieved)):
        header, rows = ablation.rows(first, _SPLIT, labels, number)
        result.append(
          pages.Table(
            f'In the layout of Table {number}',
            header,
            tuple(map(tuple, rows)),
            'In percent; in brackets the paper, on other data.',
          )
        )
    if len(self.sides) > 1:
      by_side = {
        side: aligned[self.augmentations[0], side] for side in self.sides
      }
      for measure in ('zero_shot', *retrieval.DIRECTIONS):
        header, rows = spatial_context.rows(by_side, _SPLIT, LABELS, measure)
        result.append(
          pages.Table(
            f'By spatial context: {measure}', header, tuple(map(tuple, rows))
          )
        )
    return result


def zero_shot_table(
  aligned: _Seeds, bounds: Mapping[tuple[str, str], _Seeds]
) -> pages.Table:
  """Returns zero-shot accuracies beside the supervised bound.

  Args:
    aligned: metrics of one model, one entry for each seed.
    bounds: {(label, setting): metrics of the supervised runs}.
  """
  rows = []
  for label in LABELS:
    for setting in SETTINGS:
      path = alignment_tables.zero_shot_path(_SPLIT, setting, label)
      accuracies = [numbers[path] for numbers in aligned]
      cells = [
        f'{alignment_tables.NAMES[label]}, {setting}',
        ablation.with_spread(accuracies),
        ' '.join(tables.number(accuracy) for accuracy in accuracies),
        *(
          ablation.with_spread(
            [numbers[f'{path}_{kind}'] for numbers in aligned]
          )
          for kind in ('normalised', 'by_class')
        ),
      ]
      if (label, setting) in bounds:
        supervised = [
          numbers[f'{_SPLIT}/accuracy'] for numbers in bounds[label, setting]
        ]
        share = (sum(accuracies) / len(accuracies)) / (
          sum(supervised) / len(supervised)
        )
        cells += [ablation.with_spread(supervised), tables.number(share)]
      else:
        cells += ['–', '–']
      rows.append(tuple(cells))
  return pages.Table(
    'Zero-shot',
    (
      'label and temporal setting',
      'zero-shot',
      'by seed',
      'normalised',
      'mean over classes',
      'supervised',
      'share',
    ),
    tuple(rows),
    'Accuracy on held-out places of the **simulated Earth**, mean ± standard '
    'deviation over seeds, beside a classifier of the same encoder.',
  )


def retrieval_table(aligned: _Seeds) -> pages.Table:
  """Returns Recall@1 with 12 months, without the own pair, against chance.

  Args:
    aligned: metrics of one model, one entry for each seed.
  """
  rows = []
  for label in (*LABELS, 'country'):
    path = alignment_tables.recall_path(_SPLIT, 'monthly', label, own=False)
    for direction in retrieval.DIRECTIONS:
      bounds = [
        retrieval.over_chance(numbers, path, direction) for numbers in aligned
      ]
      rows.append(
        (
          f'{alignment_tables.NAMES[label]}, {direction.upper()}',
          ablation.with_spread(
            [numbers[f'{path}_{direction}@1'] for numbers in aligned]
          ),
          tables.number(aligned[0][f'{path}_chance@1']),
          ' '.join(tables.number(bound, 2) for bound in bounds),
        )
      )
  return pages.Table(
    'Retrieval by class',
    (
      'label and direction',
      'Recall@1',
      'chance',
      'lower 95 % bound / chance, by seed',
    ),
    tuple(rows),
    'With 12 months; a query does not find its own place.',
  )


def dropout_table(aligned: Mapping[str, _Seeds]) -> pages.Table:
  """Returns zero-shot accuracies with and without dropping months.

  Args:
    aligned: {augmentation: metrics, one entry for each seed}.
  """
  rows = []
  for setting in SETTINGS:
    for label in (*LABELS, 'mean'):
      chosen = LABELS if label == 'mean' else (label,)
      paths = [
        alignment_tables.zero_shot_path(_SPLIT, setting, one) for one in chosen
      ]
      rows.append(
        (
          f'{alignment_tables.NAMES.get(label, label)}, {setting}',
          *(
            ablation.with_spread(
              [
                sum(numbers[path] for path in paths) / len(paths)
                for numbers in seeds
              ]
            )
            for seeds in aligned.values()
          ),
        )
      )
  return pages.Table(
    'Zero-shot with and without temporal dropout',
    ('label, tested on', *(ablation.NAMES[kind] for kind in aligned)),
    tuple(rows),
  )


def times_table(workdir: pathlib.Path) -> pages.Table:
  """Returns processor and clock seconds of the runs, means over seeds.

  Args:
    workdir: folder of the study.
  """
  rows = []
  for folder in sorted(workdir.iterdir()):
    seconds = [
      json.loads(path.read_text())
      for path in sorted(folder.glob('*/time.json'))
    ]
    if seconds:
      rows.append(
        (
          folder.name,
          len(seconds),
          *(
            round(sum(run[key] for run in seconds) / len(seconds))
            for key in ('cpu_s', 'clock_s')
          ),
        )
      )
  return pages.Table(
    'Time', ('run', 'seeds', 'processor s', 'clock s'), tuple(rows)
  )
