"""Zero-shot classification of places by the vectors of texts (Table 2)."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusion_jax.data import labels, prompt_files
from fusion_jax.ops import intervals
from fusion_jax.ops import zero_shot as zero_shot_ops

# Our names of the prompts, and the columns of the paper's Table 2.
KINDS = {'class_names': 'class', 'paper': 'gen', 'descriptive': 'desc'}
_EPSILON = 1e-6  # Added to the mean of a class's scores, as in the public code.


class Classes(NamedTuple):
  """Classes of a label that have prompts.

  Attributes:
    names: names of C classes.
    values: int [C], values of the classes in the label.
    vectors: [C, E], vectors of length 1.
  """

  names: tuple[str, ...]
  values: np.ndarray
  vectors: np.ndarray


@dataclasses.dataclass(frozen=True)
class Score:
  """The shares of places that are classified correctly.

  Attributes:
    accuracy: top-1 accuracy, a share of the places.
    normalised: top-1 accuracy after each class's scores were divided by their
      mean over all places. It needs the whole test set (it is transductive)
      and takes away how near a class is to everything.
    by_class: mean accuracy over the classes that occur.
    by_candidate: mean accuracy over all candidates: a class that does not
      occur counts as 0, as in the public code.
    interval: (low, high), the 95 % interval of the accuracy over places.
    count: number of places.
    classes: {name: (accuracy, places)} of the classes that occur.
  """

  accuracy: float
  normalised: float
  by_class: float
  by_candidate: float
  interval: tuple[float, float]
  count: int
  classes: dict[str, tuple[float, int]]


def read_classes(
  path: str | pathlib.Path, label: str, width: int, names: Sequence[str]
) -> Classes:
  """Reads classes from a file of prompt vectors.

  Args:
    path: path of the file, see data/prompt_files.py.
    label: name of the label.
    width: number of dimensions E that the vectors must have.
    names: names of the label's classes, in the order of its values.

  Raises:
    ValueError: if the file has no vectors, or a class that the label lacks.
  """
  prompts = prompt_files.read(path, width=width).with_vectors(None)
  order = {_key(name): i for i, name in enumerate(names)}
  unknown = [name for name in prompts.classes if _key(name) not in order]
  if unknown:
    raise ValueError(
      f'{path} has classes that {label} lacks: {unknown}; '
      f'there are {", ".join(names)}.'
    )
  if prompts.vectors is None:
    raise ValueError(f'{path} has texts but no vectors.')
  vectors = zero_shot_ops.class_vectors(
    prompts.vectors, np.array(prompts.class_of), len(prompts.classes)
  )
  values = np.array([order[_key(name)] for name in prompts.classes])
  return Classes(prompts.classes, values, np.asarray(vectors))


def evaluate(vectors: np.ndarray, truth: np.ndarray, classes: Classes) -> Score:
  """Classifies places by the vectors of texts.

  Args:
    vectors: [P, E], vectors of places, of length 1.
    truth: int [P], classes of the places. Places without a label, or of a
      class without prompts, do not count.
    classes: classes with prompts.

  Source: TimeSenCLIP, Sec. 4.2 and `src/Evaluation/zeroshot_train_eval.py`,
  which prints raw and normalised accuracy; the paper does not say which it
  reports. The raw one is our headline, since it needs one place at a time.
  """
  counted = np.isin(truth, classes.values)
  if not counted.any():
    nan = np.nan
    return Score(nan, nan, nan, nan, (nan, nan), 0, {})
  truth = np.asarray(truth)[counted]
  scores = vectors[counted] @ classes.vectors.T
  hits = classes.values[np.argmax(scores, axis=1)] == truth
  # The code's scores are cos / 2 + 1, all positive; on plain cosines a mean
  # near 0 would decide.
  shifted = scores / 2 + 1
  normalised = shifted / (shifted.mean(axis=0, keepdims=True) + _EPSILON)
  best = classes.values[np.argmax(normalised, axis=1)]
  per_class = {
    name: (float(hits[truth == value].mean()), int((truth == value).sum()))
    for name, value in zip(classes.names, classes.values)
    if (truth == value).any()
  }
  shares = [share for share, _ in per_class.values()]
  return Score(
    float(hits.mean()),
    float((best == truth).mean()),
    float(np.mean(shares)),
    float(np.sum(shares) / len(classes.names)),
    intervals.of_share(hits),
    int(hits.size),
    per_class,
  )


def metrics(path: str, score: Score) -> dict[str, float]:
  """Turns a score into {path: number}.

  Args:
    path: path of the accuracy, and start of the other paths.
    score: result of `evaluate`.
  """
  return {
    path: score.accuracy,
    f'{path}_normalised': score.normalised,
    f'{path}_by_class': score.by_class,
    f'{path}_by_candidate': score.by_candidate,
    f'{path}_low': score.interval[0],
    f'{path}_high': score.interval[1],
  }


def _key(name: str) -> str:
  return labels.pretty(name).lower().replace(' ', '')
