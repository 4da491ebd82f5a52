"""How well an image tokenizer gives back held-out images.

Every figure is of pixels in standardised units. Beside the model stand the
code that stores each 16 x 16 patch's mean without rounding, and the best
constant image of each scene, its mean; for classes, the map with each patch's
majority class.
"""

import pathlib

import jax
import numpy as np
from absl import logging

from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.evals import (
  gather,
  image_plots,
  plots,
  reconstruction_scores,
  report,
)
from fusion_jax.ops import image_metrics


class Reconstruction:
  """Reconstructs the held-out squares of every scene, and reports."""

  def __init__(self, task, config, workdir, *, oracle=None, place):
    """Prepares; nothing runs yet.

    Args:
      task: `tasks.image_tokenizer.ImageTokenizer`.
      config: of configs/image_tokenizer.py.
      workdir: to write to.
      oracle: not None where the data are simulated.
      place: from this process's share of a batch to global arrays.

    Raises:
      ImportError: if scikit-image, which computes SSIM, is not installed.
    """
    self.found = None  # `reconstruction_scores` of the last call.
    self._task = task
    self._config = config
    self._workdir = pathlib.Path(workdir)
    self._simulated = oracle is not None
    self._place = place
    self._classes = tile_transforms.is_classes(task.modality)
    self._steps = (1,) if self._classes else tuple(config.evals.decode_steps)
    if not self._classes:
      image_metrics.load_similarity()  # Missing, it shall fail before a run.
    self._run = jax.jit(self._reconstruct, static_argnums=2)
    self._encode = jax.jit(task.encode)

  def hooks(self):
    """{name: (every, run)} for the loop."""
    return {'reconstruction': (self._config.evals.every, self)}

  def __call__(self, state, step):
    """Reconstructs, keeps `found`, and returns {path: number}."""
    last = step == self._config.num_steps
    self.found = self.reconstruct(
      state.eval_params, self._steps if last else self._steps[:1]
    )
    self.found.train_counts = self._count_codes(state.eval_params)
    return self.found.score()

  def reconstruct(self, params, decode_steps):
    """The scores of the held-out squares; the same on every process.

    Args:
      params: of the model.
      decode_steps: numbers of DDIM steps.
    """
    source, batches = self._task.tiles('val')
    found = reconstruction_scores.new(
      self._task.modality, source.scenes, decode_steps, self._task.num_codes
    )
    for batch in batches:
      batch = self._place(dict(batch))
      for steps in decode_steps:
        codes, image = self._run(params, batch, steps)
        batch |= {'codes': codes, f'image {steps}': image}
      rows = gather.fetch(batch)
      for i in np.flatnonzero(rows['valid']):
        row = {name: x[i] for name, x in rows.items()}
        found.add(row, {n: row[f'image {n}'] for n in decode_steps})
    return found

  def write(self, state, history, *, duration_s):
    """Writes report.md, metrics.json and pictures.

    Args:
      state: the final `TrainState`.
      history: records of the loop, [{'step': int, path: number}].
      duration_s: of the whole run.
    """
    numbers = {
      path: value
      for record in history
      for path, value in record.items()
      if path != 'step'
    }
    numbers['train/steps'] = int(state.step)
    if self.found is None:  # The run was complete before it started.
      numbers |= self(state, int(state.step))
    if jax.process_index():
      return
    pictures = self._workdir / 'pictures'
    pictures.mkdir(exist_ok=True)
    path = report.write(
      self._workdir,
      f'Image tokenizer of {self._task.modality.field}',
      numbers,
      sections=[
        (
          'Held-out images',
          [self._task.holdout, *self.found.tables(), *self._pictures(pictures)],
        ),
        self._learning(history, pictures),
      ],
      duration_s=duration_s,
      simulated=self._simulated,
    )
    logging.info('The report is %s.', path)

  def _reconstruct(self, params, batch, steps):
    codes = self._task.encode(params, batch['image'])
    return codes, self._task.decode(params, codes, batch['noise'], steps)

  def _count_codes(self, params):
    """How often each code stands for a square of the training images."""
    counts = np.zeros(self._task.num_codes, np.int64)
    _, batches = self._task.tiles('train')
    for batch in batches:
      batch = self._place(dict(batch))
      rows = gather.fetch(
        {'codes': self._encode(params, batch['image']), 'valid': batch['valid']}
      )
      counts += np.bincount(
        rows['codes'][rows['valid']].ravel(), minlength=len(counts)
      )
    return counts

  def _pictures(self, folder):
    """Originals beside reconstructions, and the histogram of codes."""
    path, histogram = folder / 'reconstructions.png', folder / 'codes.png'
    image_plots.triples(
      path,
      self._task.modality,
      {
        key: canvas
        for (key, _, _), canvas in zip(self.found.scenes, self.found.canvases)
      },
    )
    image_plots.code_histogram(
      histogram,
      {
        'held-out squares': self.found.counts,
        'training squares': self.found.train_counts,
      },
    )
    kept = 'majority class' if self._classes else 'mean'
    return [
      (path, f"Original, reconstruction, and each patch's {kept}"),
      (histogram, 'How often each code is used'),
    ]

  def _learning(self, history, folder):
    path = folder / 'learning_curve.png'
    records = [r for r in history if 'train/loss' in r]
    plots.learning_curve(
      path,
      ([r['step'] for r in records], [r['train/loss'] for r in records]),
      {},
      ylabel=(
        'cross-entropy (nats)'
        if self._classes
        else 'training loss (squared, standardised)'
      ),
    )
    return 'Learning', [(path, 'Training loss')]
