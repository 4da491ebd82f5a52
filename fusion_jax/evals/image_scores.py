"""Sums over the squares of held-out images, whatever these hold."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import modalities
from fusion_jax.evals import tables
from fusion_jax.ops import fsq

_NUM_PICTURES = 6  # Scenes that are kept whole.
# Key of a scene, and (top, left) corner and shape of its covered part.
Scene = tuple[str, Any, tuple[int, int]]


class Scores(abc.ABC):
  """Sums over the squares of all scenes.

  Attributes:
    modality: modality of the tokens.
    scenes: (key, corner, shape) of the covered part of every scene.
    steps: numbers of DDIM steps, the first of which gives the headline.
    counts: [num_codes], how often each code occurs in the held-out squares.
    train_counts: [num_codes], how often each code occurs in the training
      squares; the evaluation sets it.
    canvases: {'truth' | 'model' | 'yardstick': [Y, X, C]} of the first scenes.
  """

  modality: modalities.Modality
  scenes: Sequence[Scene]
  steps: Sequence[int]
  counts: np.ndarray
  train_counts: np.ndarray
  canvases: list[dict[str, np.ndarray]]

  def __init__(
    self,
    modality: modalities.Modality,
    scenes: Sequence[Scene],
    steps: Sequence[int],
    num_codes: int,
  ):
    """Makes empty sums; the arguments are those of `new`."""
    self.modality, self.scenes, self.steps = modality, scenes, steps
    self.counts = np.zeros(num_codes, np.int64)
    self.train_counts = self.counts.copy()
    channels = len(modality.bands)
    self.canvases = [
      {
        name: np.zeros((*shape, channels), np.float32)
        for name in ('truth', 'model', 'yardstick')
      }
      for _, _, shape in scenes[:_NUM_PICTURES]
    ]

  @staticmethod
  @abc.abstractmethod
  def yardstick(image: np.ndarray) -> np.ndarray:
    """Returns the image [Y, X, C] that one value for each patch can give.

    Args:
      image: [Y, X, C], standardised or classes.
    """

  @abc.abstractmethod
  def score(self) -> dict[str, float]:
    """Returns {path: number} of all squares together."""

  @abc.abstractmethod
  def tables(self) -> list[str]:
    """Returns Markdown tables: all squares together, then parts of them."""

  @abc.abstractmethod
  def _score(
    self,
    row: Mapping[str, Any],
    images: Mapping[int, np.ndarray],
    counted: np.ndarray,
  ) -> None:
    """Adds the pixels of a square where `counted`, bool [Y, X], is True."""

  def add(
    self, row: Mapping[str, Any], images: Mapping[int, np.ndarray]
  ) -> None:
    """Adds a square.

    Args:
      row: dict with 'image' [Y, X, C], 'counted' and 'present' bool [Y, X],
        'codes' int [y, x], and the numbers 'scene' and 'corner' [2].
      images: {DDIM steps: [Y, X, C]}, the reconstructions.
    """
    np.add.at(self.counts, row['codes'].ravel(), 1)
    self._score(row, images, row['counted'] & row['present'])
    scene = int(row['scene'])
    if scene < len(self.canvases):
      _, corner, _ = self.scenes[scene]
      top, left = np.asarray(row['corner']) - corner
      size = len(row['image'])
      window = slice(top, top + size), slice(left, left + size)
      parts = {
        'truth': row['image'],
        'model': images[self.steps[0]],
        'yardstick': self.yardstick(row['image']),
      }
      for name, image in parts.items():
        part = self.canvases[scene][name][window]
        part[row['counted']] = image[row['counted']]

  def use(self) -> dict[str, float]:
    """Returns {path: number}: codes in use on held-out and training squares."""
    numbers: dict[str, float] = {}
    for name, counts in (('', self.counts), ('train_', self.train_counts)):
      use = fsq.codebook_use(counts)
      numbers |= {
        f'{name}codes_used': int(use['used']),
        f'{name}codes_perplexity': float(use['perplexity']),
        f'{name}codes_counted': int(counts.sum()),
      }
    return numbers


def use_table(numbers: Mapping[str, float]) -> str:
  """Makes a Markdown table of the codes in use.

  Args:
    numbers: {path: number} of `Scores.score`.
  """
  rows = [
    [
      label,
      *(
        int(numbers[f'eval/{prefix}codes_{name}'])
        for name in ('counted', 'used')
      ),
      numbers[f'eval/{prefix}codes_perplexity'],
    ]
    for label, prefix in (('held out', ''), ('training', 'train_'))
  ]
  return tables.markdown(
    ('squares', 'tokens', 'codes in use', 'perplexity'), rows
  )
