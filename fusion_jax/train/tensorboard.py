"""A TensorBoard writer in clu's `MetricWriter` protocol, without TensorFlow."""

import os
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from fusion_jax.types import Array

_proto: Any = event_pb2  # It makes its classes when it is imported.

DIRECTORY = 'tensorboard'


class TensorBoardWriter:
  """Writes event files; the methods are those of `clu.metric_writers`.

  clu's own writers import TensorFlow, which nothing else here needs. Records
  are written at once: tensorboardX's own `SummaryWriter` hands them to a
  thread, which on a full disk ends and leaves the run waiting for ever.
  """

  def __init__(self, logdir: str | os.PathLike[str], first_step: int = 0):
    """Opens a new event file.

    Args:
      logdir: folder of the event files.
      first_step: number of steps done when a run is resumed. TensorBoard
        hides what an earlier file holds of later steps.

    Raises:
      OSError: if the folder cannot be written; all methods raise it, too.
    """
    os.makedirs(logdir, exist_ok=True)
    self._file = event_file_writer.EventsWriter(
      os.path.join(logdir, 'events'), f'.{os.getpid()}.{first_step}'
    )
    if first_step:
      self._file.write_event(
        _proto.Event(
          wall_time=time.time(),
          step=first_step + 1,
          session_log=_proto.SessionLog(status=_proto.SessionLog.START),
        )
      )

  def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
    """Writes numbers.

    Args:
      step: number of steps done.
      scalars: {name: number}.
    """
    for name, value in scalars.items():
      self._write(step, summary.scalar(_tag(name), float(value)))

  def write_images(self, step: int, images: Mapping[str, Array]) -> None:
    """Writes pictures.

    Args:
      step: number of steps done.
      images: {name: [Y, X, C] or [N, Y, X, C]}, uint8 or floats in [0, 1].
    """
    for name, image in images.items():
      image = np.asarray(image)
      if image.ndim == 3:
        self._write(step, summary.image(_tag(name), image, dataformats='HWC'))
        continue
      for i, picture in enumerate(image):
        self._write(
          step, summary.image(f'{_tag(name)}/{i}', picture, dataformats='HWC')
        )

  def write_histograms(
    self,
    step: int,
    arrays: Mapping[str, Array],
    num_buckets: Mapping[str, int] | None = None,
  ) -> None:
    """Writes distributions of values.

    Args:
      step: number of steps done.
      arrays: {name: [...]}, arrays of any shape.
      num_buckets: {name: number of bins}, 30 where it says nothing.
    """
    for name, array in arrays.items():
      bins = (num_buckets or {}).get(name) or 30
      self._write(
        step, summary.histogram(_tag(name), np.asarray(array).ravel(), bins)
      )

  def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
    """Writes texts.

    Args:
      step: number of steps done.
      texts: {name: Markdown}.
    """
    for name, text in texts.items():
      self._write(step, summary.text(_tag(name), text))

  def write_hparams(self, hparams: Mapping[str, Any]) -> None:
    """Writes hyper-parameters, once in a run.

    Args:
      hparams: {name: number, string or bool}; other values become strings.
    """
    plain = {
      name: value if isinstance(value, (bool, int, float, str)) else str(value)
      for name, value in hparams.items()
    }
    for part in summary.hparams(plain, {}):
      self._write(0, part)

  def flush(self) -> None:
    """Hands what is buffered to the operating system."""
    self._file.flush()

  def close(self) -> None:
    """Flushes and closes the file."""
    self._file.close()

  def _write(self, step: int, value: Any) -> None:
    self._file.write_event(
      _proto.Event(wall_time=time.time(), step=step, summary=value)
    )


def _tag(name: str) -> str:
  """Replaces what tensorboardX refuses in a name, such as '@', by '_'.

  It would do so itself, with a line in the log each time.
  """
  return re.sub(r'[^-/\w.]', '_', name)
