"""What the alignment run is judged by while it trains, and its report.

Zero-shot classification of the validation split against prompt vectors decides
which checkpoint is the best. After the last step everything else follows, with
the parameters of that checkpoint, on the split `config.evals.split`: see
`alignment_report`.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from fusion_jax.evals import (
  alignment_report,
  alignment_tables,
  place_vectors,
  run_report,
  selection,
  validation,
  zero_shot,
)
from fusion_jax.tasks import align_pixels
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Config


class Alignment:
  """Validation loss and zero-shot accuracy of every label with prompts."""

  def __init__(
    self,
    task: align_pixels.AlignPixels,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    oracle: Any = None,
    place: validation.Place,
  ):
    """Reads the prompts; evaluates nothing yet.

    Args:
      task: task of the run.
      config: configuration of configs/align_pixels.py; `evals.prompts` is
        {label: file}, relative to the folder of the data.
      workdir: folder of the run.
      oracle: not used: there is no best prediction of a class by itself.
      place: function from this process's share of a batch to global arrays.
    """
    del oracle
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._validation = validation.Validation(
      task, lambda: task.batches('val'), place=place
    )
    self._classes = {
      label: zero_shot.read_classes(
        task.data_dir / file,
        label,
        task.encoder.output_width,
        task.class_names(label),
      )
      for label, file in config.evals.prompts.items()
    }
    self._embed = place_vectors.Embedder(task, place)
    self._report = alignment_report.AlignmentReport(task, config)

  def hooks(self) -> dict[str, task_lib.Hook]:
    """Returns {name: (every, evaluation)} for the loop."""
    every = self._config.evals.every
    return {
      'validation': (every, self._validation),
      'zero_shot': (every, self.zero_shot),
    }

  def zero_shot(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Classifies the places of the validation split by prompts.

    Args:
      state: state of the run.
      step: number of steps done; not used.

    Returns:
      {path: share of the places that are classified rightly}:
      'val/zero_shot/<label>' from 12 months, 'val/zero_shot_quarterly/<label>'
      and 'val/zero_shot_single/<label>' from fewer dates. '..._by_class' is
      the mean over the classes that occur; `zero_shot.metrics` explains the
      others.
    """
    del step
    places = self._embed(state.eval_params, 'val')
    numbers = {}
    for setting, vectors in places.pixels.items():
      for label, classes in self._classes.items():
        score = zero_shot.evaluate(vectors, places.labels[label], classes)
        numbers |= zero_shot.metrics(
          alignment_tables.zero_shot_path('val', setting, label), score
        )
    return numbers

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[task_lib.Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json and pictures.

    The parameters are those of the best checkpoint by `config.checkpoint.best`,
    or of the last one where that is ''.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    numbers = run_report.last_numbers(state, history)
    params, numbers['train/judged_step'] = selection.judged(
      state, self._config.checkpoint.best, self._workdir
    )
    places = self._embed(params, self._config.evals.split)
    if jax.process_index():
      return
    pictures = run_report.make_pictures_folder(self._workdir)
    scale = params.get('log_scale')
    held_out_numbers, sections = self._report(
      places,
      self._classes,
      pictures,
      learned_scale=None if scale is None else float(jax.numpy.exp(scale)),
    )
    learning = run_report.learning_curve(
      history,
      pictures,
      'InfoNCE in nats: training (augmented) and validation places',
      validation={'validation': 'val/loss/alignment'},
    )
    run_report.write(
      self._workdir,
      'Alignment of pixels with photos',
      numbers | held_out_numbers,
      [*sections, ('Learning', [learning])],
      duration_s=duration_s,
      simulated=self._config.data.name.startswith('simulated'),
    )
