"""A TensorBoard writer in clu's `MetricWriter` protocol, without TensorFlow."""

import os
import re
import time

import numpy as np
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

DIRECTORY = 'tensorboard'


class TensorBoardWriter:
  """Writes event files; the methods are those of `clu.metric_writers`.

  clu's own writers import TensorFlow, which nothing else here needs. Records
  are written at once: tensorboardX's own `SummaryWriter` hands them to a
  thread, which on a full disk ends and leaves the run waiting for ever.
  """

  def __init__(self, logdir, first_step=0):
    """Opens a new event file.

    Args:
      logdir: folder of the event files.
      first_step: steps done when a run resumes: what an earlier file holds
        behind them, TensorBoard hides.

    Raises:
      OSError: if the folder cannot be written; so do all methods.
    """
    os.makedirs(logdir, exist_ok=True)
    self._file = event_file_writer.EventsWriter(
      os.path.join(logdir, 'events'), f'.{os.getpid()}.{first_step}'
    )
    if first_step:
      self._file.write_event(
        event_pb2.Event(
          wall_time=time.time(),
          step=first_step + 1,
          session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START),
        )
      )

  def write_scalars(self, step, scalars):
    """Writes {name: number}."""
    for name, value in scalars.items():
      self._write(step, summary.scalar(_tag(name), float(value)))

  def write_images(self, step, images):
    """Writes {name: [Y, X, C] or [N, Y, X, C]}: uint8, or floats in [0, 1]."""
    for name, image in images.items():
      image = np.asarray(image)
      if image.ndim == 3:
        self._write(step, summary.image(_tag(name), image, dataformats='HWC'))
        continue
      for i, one in enumerate(image):
        self._write(
          step, summary.image(f'{_tag(name)}/{i}', one, dataformats='HWC')
        )

  def write_histograms(self, step, arrays, num_buckets=None):
    """Writes the distribution of {name: array}, with {name: bins}."""
    for name, array in arrays.items():
      bins = (num_buckets or {}).get(name) or 30
      self._write(
        step, summary.histogram(_tag(name), np.asarray(array).ravel(), bins)
      )

  def write_texts(self, step, texts):
    """Writes {name: Markdown}."""
    for name, text in texts.items():
      self._write(step, summary.text(_tag(name), text))

  def write_hparams(self, hparams):
    """Writes {name: number, string or bool}, once a run."""
    plain = {
      name: value if isinstance(value, (bool, int, float, str)) else str(value)
      for name, value in hparams.items()
    }
    for part in summary.hparams(plain, {}):
      self._write(0, part)

  def flush(self):
    """Hands what is buffered to the disk."""
    self._file.flush()

  def close(self):
    """Flushes and closes the file."""
    self._file.close()

  def _write(self, step, value):
    self._file.write_event(
      event_pb2.Event(wall_time=time.time(), step=step, summary=value)
    )


def _tag(name):
  """A name as tensorboardX takes it: '@' and the like become '_'.

  It would do so itself, with a line in the log each time.
  """
  return re.sub(r'[^-/\w.]', '_', name)
