"""Calibrates confidences by one temperature, fitted on labelled pixels.

Source: Guo et al. 2017, arXiv:1706.04599, Sec. 4.2 (temperature scaling) and
2 (expected calibration error).
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import optimize, special

from fusion_jax import checksums
from fusion_jax.untrusted import nested

FILE = 'calibration.json'
_DIGEST = 'digest'
# Fewest labelled pixels of a temperature: two a bin of the calibration error.
FEWEST = 30
_WIDE = 1.5  # Ratio of the ends of an interval that is warned about.
_BINS = 15  # Of the calibration error, as in the source.
_RANGE = np.log(1e-2), np.log(1e2)  # Range of the logarithm of temperatures.


@dataclasses.dataclass(frozen=True)
class Calibration:
  """A softmax temperature for the scores of a set of classes.

  Attributes:
    classes: names; another set of classes needs another temperature.
    temperature: scores are divided by it before the softmax.
    num_pixels: labelled pixels that it was fitted on.
    error_before: expected calibration error on these at temperature 1.
    error: expected calibration error at `temperature`, measured on the pixels
      that it was fitted on.
    data: description of these pixels.
    interval: 95 % interval of the temperature, by the curvature of the
      likelihood; None in files of earlier versions.
  """

  classes: tuple[str, ...]
  temperature: float
  num_pixels: int
  error_before: float
  error: float
  data: str = ''
  interval: tuple[float, float] | None = None


def fit(
  scores: np.ndarray, labels: np.ndarray, classes: Sequence[str], data: str = ''
) -> Calibration:
  """Fits the temperature that maximises the likelihood of the labels.

  Args:
    scores: [N, C] scores before the softmax.
    labels: int [N] in [0, C); pixels with other values are left out.
    classes: names of the C classes.
    data: description of the pixels, stored with the calibration.

  Returns:
    `Calibration`.

  Raises:
    ValueError: if fewer than `FEWEST` pixels have a label.
  """
  labels = np.asarray(labels)
  labelled = (labels >= 0) & (labels < len(classes))
  if labelled.sum() < FEWEST:
    raise ValueError(
      f'{labelled.sum()} pixel(s) of {data or "the data"} have a label of '
      f'{", ".join(classes)}; a temperature needs {FEWEST} or more. Name a '
      'larger split or data set.'
    )
  scores, labels = np.asarray(scores, np.float64)[labelled], labels[labelled]

  def loss(log_temperature: float) -> float:
    logs = special.log_softmax(scores / np.exp(log_temperature), axis=1)
    return -logs[np.arange(len(labels)), labels].mean()

  minimum = optimize.minimize_scalar(loss, bounds=_RANGE, method='bounded')
  temperature = float(np.exp(minimum.x))
  return Calibration(
    tuple(classes),
    temperature,
    len(labels),
    expected_error(special.softmax(scores, axis=1), labels),
    expected_error(special.softmax(scores / temperature, axis=1), labels),
    str(data),
    _interval(loss, float(minimum.x), len(labels)),
  )


def _interval(
  loss: Callable[[float], float], log_temperature: float, count: int
) -> tuple[float, float]:
  """Returns the 95 % interval of a temperature, (low, high).

  Args:
    loss: mean negative log-likelihood of the labels, of a log-temperature.
    log_temperature: its minimum.
    count: number of labels.
  """
  step = 1e-3
  left, middle, right = (loss(log_temperature + step * i) for i in (-1, 0, 1))
  curvature = max((left - 2 * middle + right) / step**2, 0.0) * count
  half = 1.96 / np.sqrt(curvature) if curvature else np.inf
  # Outside the range of temperatures nothing was looked for.
  ends = np.clip(log_temperature + np.array([-half, half]), *_RANGE)
  low, high = np.exp(ends)
  return float(low), float(high)


def interval_text(calibration: Calibration) -> str:
  """Returns ' [low, high]' of the temperature; '' where it is not known."""
  if calibration.interval is None:
    return ''
  low, high = calibration.interval
  return f' [{low:.3f}, {high:.3f}]'


def is_uncertain(calibration: Calibration) -> bool:
  """Whether the pixels leave the temperature open by a factor of 1.5."""
  if calibration.interval is None:
    return False
  low, high = calibration.interval
  return high > _WIDE * low


def expected_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """Returns the mean gap between confidence and accuracy, over 15 bins.

  Args:
    probabilities: [N, C] probabilities of the classes.
    labels: int [N] true classes.
  """
  confidence = probabilities.max(axis=1)
  hits = probabilities.argmax(axis=1) == labels
  bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
  gaps = np.bincount(bins, hits - confidence, _BINS)
  return float(np.abs(gaps).sum() / len(labels))


def write(
  workdir: str | os.PathLike[str], calibration: Calibration
) -> pathlib.Path:
  """Stores a calibration beside a checkpoint, one for each set of classes.

  Args:
    workdir: work directory of the model.
    calibration: calibration to store; an earlier one of its classes is
      replaced.

  Returns:
    Path of the file.
  """
  others = [x for x in _read_all(workdir) if x.classes != calibration.classes]
  path = pathlib.Path(workdir) / FILE
  rows = [dataclasses.asdict(x) for x in (*others, calibration)]
  aside = path.with_name(f'{FILE}.{os.getpid()}.tmp')
  aside.write_text(
    json.dumps([{**row, _DIGEST: _digest(row)} for row in rows], indent=1)
  )
  aside.replace(path)
  return path


def read(
  workdir: str | os.PathLike[str], classes: Sequence[str]
) -> Calibration | None:
  """Returns the calibration of a model for some classes, or None."""
  return next(
    (x for x in _read_all(workdir) if x.classes == tuple(classes)), None
  )


def _read_all(workdir: str | os.PathLike[str]) -> list[Calibration]:
  path = pathlib.Path(workdir) / FILE
  if not path.exists():
    return []
  try:
    rows = nested.read_json(path)
    for row in rows:  # Those of earlier versions have no digest.
      if row.pop(_DIGEST, _digest(row)) != _digest(row):
        raise ValueError('its content is not what was saved')
    return [
      Calibration(
        **row
        | {
          name: tuple(row[name])
          for name in ('classes', 'interval')
          if row.get(name) is not None
        }
      )
      for row in rows
    ]
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f'{path} is no file of calibrations ({error}); remove it, and fit them '
      'again (python -m fusion_jax.calibrate).'
    ) from error


def _digest(row: Mapping[str, Any]) -> str:
  return checksums.digest_bytes(json.dumps(row).encode())
