"""A TensorBoard writer in clu's `MetricWriter` protocol, without TensorFlow."""

import os

import numpy as np
import tensorboardX
import tensorboardX.summary

DIRECTORY = 'tensorboard'


class TensorBoardWriter:
  """Writes event files; the methods are those of `clu.metric_writers`.

  clu's own writers import TensorFlow, which nothing else here needs.
  """

  def __init__(self, logdir, first_step=0):
    """Opens a new event file.

    Args:
      logdir: folder of the event files.
      first_step: of a resumed run: what an earlier file holds from this step
        on, TensorBoard hides.
    """
    self._writer = tensorboardX.SummaryWriter(
        os.fspath(logdir), purge_step=first_step or None)

  def write_scalars(self, step, scalars):
    """Writes {name: number}."""
    for name, value in scalars.items():
      self._writer.add_scalar(name, float(value), step)

  def write_images(self, step, images):
    """Writes {name: [Y, X, C] or [N, Y, X, C]}: uint8, or floats in [0, 1]."""
    for name, image in images.items():
      image = np.asarray(image)
      image = image[None] if image.ndim == 3 else image
      self._writer.add_images(name, image, step, dataformats='NHWC')

  def write_histograms(self, step, arrays, num_buckets=None):
    """Writes the distribution of {name: array}, {name: bins} as counts."""
    for name, array in arrays.items():
      bins = (num_buckets or {}).get(name) or 30
      self._writer.add_histogram(
          name, np.asarray(array).ravel(), step, bins=bins)

  def write_texts(self, step, texts):
    """Writes {name: Markdown}."""
    for name, text in texts.items():
      self._writer.add_text(name, text, step)

  def write_hparams(self, hparams):
    """Writes {name: number, string or bool}, once a run."""
    plain = {name: value if isinstance(value, (bool, int, float, str))
             else str(value) for name, value in hparams.items()}
    for summary in tensorboardX.summary.hparams(plain, {}):
      self._writer.file_writer.add_summary(summary)

  def flush(self):
    """Writes what is buffered."""
    self._writer.flush()

  def close(self):
    """Flushes, then ends the writer's thread."""
    self._writer.close()
