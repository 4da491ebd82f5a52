"""How well an image tokenizer gives back held-out images.

Every figure is of pixels in standardised units. Beside the model stand the
code that stores each 16 x 16 patch's mean without rounding, and the best
constant image of each scene, its mean; for classes, the map with each patch's
majority class.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.evals import (
  gather,
  image_plots,
  image_scores,
  reconstruction_scores,
  report,
  run_report,
  validation,
)
from fusion_jax.ops import image_metrics
from fusion_jax.tasks import image_tokenizer
from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Batch, Config, Params


class Reconstruction:
  """Reconstructs the held-out squares of every scene, and reports.

  Attributes:
    scores: scores of the last call; None before the first one.
  """

  scores: image_scores.Scores | None

  def __init__(
    self,
    task: image_tokenizer.ImageTokenizer,
    config: Config,
    workdir: str | pathlib.Path,
    *,
    oracle: Any = None,
    place: validation.Place,
  ):
    """Takes what it works with; nothing runs yet.

    Args:
      task: task of the run.
      config: configuration of configs/image_tokenizer.py.
      workdir: folder of the run.
      oracle: not None where the data are simulated.
      place: function from this process's share of a batch to global arrays.

    Raises:
      ImportError: if scikit-image, which computes SSIM, is not installed.
    """
    self.scores = None
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._simulated = oracle is not None
    self._place = place
    self._classes = tile_transforms.is_classes(task.modality)
    self._steps = (1,) if self._classes else tuple(config.evals.decode_steps)
    if not self._classes:
      image_metrics.load_similarity()  # If it is missing, fail before a run.
    self._decode = jax.jit(self._reconstruct, static_argnums=2)
    self._encode = jax.jit(task.encode)

  def hooks(self) -> dict[str, task_lib.Hook]:
    """Returns {name: (every, evaluation)} for the loop."""
    return {'reconstruction': (self._config.evals.every, self)}

  def __call__(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Reconstructs the held-out squares and keeps `scores`.

    Args:
      state: state of the run.
      step: number of steps done; after the last one, images are decoded with
        every number of DDIM steps that the configuration names.

    Returns:
      {path: number}.
    """
    last = step == self._config.num_steps
    scores = self.reconstruct(
      state.eval_params, self._steps if last else self._steps[:1]
    )
    scores.train_counts = self._count_codes(state.eval_params)
    self.scores = scores
    return scores.score()

  def reconstruct(
    self, params: Params, decode_steps: Sequence[int]
  ) -> image_scores.Scores:
    """Computes the scores of the held-out squares, alike on every process.

    Args:
      params: nested dict of the model's arrays.
      decode_steps: numbers of DDIM steps.
    """
    source, batches = self._task.tiles('val')
    scores = reconstruction_scores.new(
      self._task.modality, source.scenes, decode_steps, self._task.num_codes
    )
    for batch in batches:
      batch = dict(self._place(batch))
      for steps in decode_steps:
        codes, image = self._decode(params, batch, steps)
        batch |= {'codes': codes, f'image {steps}': image}
      rows = gather.fetch(batch)
      for i in np.flatnonzero(rows['valid']):
        row = {name: x[i] for name, x in rows.items()}
        scores.add(row, {n: row[f'image {n}'] for n in decode_steps})
    return scores

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[task_lib.Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json and pictures.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    numbers = run_report.last_numbers(state, history)
    if self.scores is None:  # The run was complete before it started.
      numbers |= self(state, int(state.step))
    assert self.scores is not None  # The call has set it.
    if jax.process_index():
      return
    pictures = run_report.make_pictures_folder(self._workdir)
    blocks = [
      self._task.holdout,
      *self.scores.tables(),
      *self._pictures(self.scores, pictures),
    ]
    learning = run_report.learning_curve(
      history,
      pictures,
      'Training loss',
      validation={},
      ylabel=(
        'cross-entropy (nats)'
        if self._classes
        else 'training loss (squared, standardised)'
      ),
    )
    run_report.write(
      self._workdir,
      f'Image tokenizer of {self._task.modality.field}',
      numbers,
      [('Held-out images', blocks), ('Learning', [learning])],
      duration_s=duration_s,
      simulated=self._simulated,
    )

  def _reconstruct(
    self, params: Params, batch: Batch, steps: int
  ) -> tuple[Any, Any]:
    """Codes [B, y, x] of a batch, and its images [B, Y, X, C] from them."""
    codes = self._task.encode(params, batch['image'])
    return codes, self._task.decode(params, codes, batch['noise'], steps)

  def _count_codes(self, params: Params) -> np.ndarray:
    """Counts the codes [num_codes] of the training images' squares."""
    counts = np.zeros(self._task.num_codes, np.int64)
    _, batches = self._task.tiles('train')
    for batch in batches:
      batch = self._place(batch)
      rows = gather.fetch(
        {'codes': self._encode(params, batch['image']), 'valid': batch['valid']}
      )
      counts += np.bincount(
        rows['codes'][rows['valid']].ravel(), minlength=len(counts)
      )
    return counts

  def _pictures(
    self, scores: image_scores.Scores, folder: pathlib.Path
  ) -> list[report.Block]:
    """Originals beside reconstructions, and the histogram of codes."""
    path, histogram = folder / 'reconstructions.png', folder / 'codes.png'
    image_plots.triples(
      path,
      self._task.modality,
      {
        key: canvas
        for (key, _, _), canvas in zip(scores.scenes, scores.canvases)
      },
    )
    image_plots.code_histogram(
      histogram,
      {
        'held-out squares': scores.counts,
        'training squares': scores.train_counts,
      },
    )
    constant_name = 'majority class' if self._classes else 'mean'
    return [
      (path, f"Original, reconstruction, and each patch's {constant_name}"),
      (histogram, 'How often each code is used'),
    ]
