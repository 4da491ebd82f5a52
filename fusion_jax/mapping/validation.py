"""What a run's own evaluation says of the classes of a map."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

from fusion_jax.data import labels, normalize
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.evals import alignment_tables, run_report

NONE = (
  'not known: no score of these classes on held-out places is stored with the '
  'model'
)


def describe(
  checkpoint: str | os.PathLike[str],
  model: Any,
  classes: Sequence[str],
  setting: str,
) -> str:
  """Says how well a model told these classes apart on held-out places.

  Args:
    checkpoint: work directory of a run, whose `metrics.json` is read.
    model: `pixel_model.PixelModel`.
    classes: names of the classes of the map.
    setting: 'monthly', 'quarterly' or 'single'.

  Returns:
    The accuracy with its 95 % interval and where it was measured, or `NONE`.

  Raises:
    ValueError: if `metrics.json` is damaged.
  """
  numbers = run_report.read_metrics(pathlib.Path(checkpoint))
  if not numbers:
    return NONE
  split = model.config.evals.split
  if model.classes:  # It was judged in the setting of its training.
    paths = [(f'{split}/accuracy', model.label)]
    paths = paths if setting == model.setting else []
  else:
    paths = [
      (alignment_tables.zero_shot_path(split, setting, label), label)
      for label in _labels(checkpoint, classes)
    ]
  for name, label in paths:
    score = [numbers.get(f'{name}{end}') for end in ('', '_low', '_high')]
    if None not in score:
      accuracy, low, high = score
      return (
        f'accuracy {accuracy:.3f} [{low:.3f}, {high:.3f}] (95 % interval) for '
        f"{label} on the places of the split '{split}', as the run measured it"
      )
  return NONE


def _labels(
  checkpoint: str | os.PathLike[str], classes: Sequence[str]
) -> list[str]:
  """Returns the labels whose classes are those of the map."""
  statistics = normalize.load_statistics(checkpoint)
  wanted = {_plain(name) for name in classes}
  known = {*labels.TASKS, *statistics.get('classes', {})}
  return [
    label
    for label in sorted(known)
    if {
      _plain(name) for name in pixel_transforms.class_names(statistics, label)
    }
    == wanted
  ]


def _plain(name: str) -> str:
  return labels.pretty(name).lower().replace('_', ' ')
