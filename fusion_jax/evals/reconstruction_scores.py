"""Scores of reconstructed images: of quantities, and of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import modalities
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.evals import image_scores, tables
from fusion_jax.ops import image_metrics


def new(
  modality: modalities.Modality,
  scenes: Sequence[image_scores.Scene],
  steps: Sequence[int],
  num_codes: int,
) -> image_scores.Scores:
  """Makes empty scores of what a modality holds, quantities or classes.

  Args:
    modality: modality of the tokens.
    scenes: (key, corner, shape) of the covered part of every scene.
    steps: numbers of DDIM steps, the first of which gives the headline.
    num_codes: number of codes of the tokenizer.
  """
  kind = Classes if tile_transforms.is_classes(modality) else Quantities
  return kind(modality, scenes, steps, num_codes)


class Quantities(image_scores.Scores):
  """Squares of continuous images."""

  def __init__(
    self,
    modality: modalities.Modality,
    scenes: Sequence[image_scores.Scene],
    steps: Sequence[int],
    num_codes: int,
  ):
    """Makes empty sums; the arguments are those of `new`."""
    super().__init__(modality, scenes, steps, num_codes)
    self._sums: dict[int, dict[str, np.ndarray]] = {n: {} for n in steps}
    self._shape = len(scenes), len(modality.bands)
    self._ssim = {n: np.zeros(2) for n in steps}

  @staticmethod
  def yardstick(image: np.ndarray) -> np.ndarray:
    """Puts the mean of each patch in its place.

    Args:
      image: [Y, X, C], standardised.

    Returns:
      [Y, X, C], standardised.
    """
    return image_metrics.patch_means(image)

  def _score(
    self,
    row: Mapping[str, Any],
    images: Mapping[int, np.ndarray],
    counted: np.ndarray,
  ) -> None:
    for steps, image in images.items():
      sums = self._sums[steps]
      for name, value in image_metrics.sums(
        row['image'], image, counted
      ).items():
        sums.setdefault(name, np.zeros(self._shape))[row['scene']] += value
      similar = image_metrics.similarity(row['image'], image)
      self._ssim[steps] += similar[counted].sum(), similar[counted].size

  def by_scene(self) -> dict[str, np.ndarray]:
    """Returns {'model' | 'patch_mean' | 'scene_mean': [scenes]}, PSNR in dB."""
    sums = self._sums[self.steps[0]]
    count = np.maximum(sums['count'].sum(1), 1)
    return {
      name: image_metrics.psnr_db(errors.sum(1) / count)
      for name, errors in _errors(sums).items()
    }

  def score(self) -> dict[str, float]:
    """Returns {path: number} of all squares together."""
    numbers: dict[str, Any] = self.use()
    for steps in self.steps:
      sums = self._sums[steps]
      count = sums['count'].sum()
      scatter = sums['truth_sq'].sum(0) - sums['truth'].sum(
        0
      ) ** 2 / np.maximum(sums['count'].sum(0), 1)
      mse = sums['se'].sum() / count
      errors_of_steps = {
        'mse': mse,
        'mae': sums['ae'].sum() / count,
        'r2': 1 - sums['se'].sum() / scatter.sum(),
        'psnr_db': image_metrics.psnr_db(mse),
        'clipped_psnr_db': image_metrics.psnr_db(
          sums['clipped_se'].sum() / count
        ),
        'ssim': self._ssim[steps][0] / self._ssim[steps][1],
      }
      numbers |= {
        f'steps_{steps}/{name}': x for name, x in errors_of_steps.items()
      }
      if steps == self.steps[0]:
        numbers |= errors_of_steps
        for name, errors in _errors(sums).items():
          if name != 'model':
            numbers[f'{name}/mse'] = errors.sum() / count
            numbers[f'{name}/psnr_db'] = image_metrics.psnr_db(
              errors.sum() / count
            )
    return {f'eval/{name}': float(x) for name, x in numbers.items()}

  def tables(self) -> list[str]:
    """Returns Markdown tables: all scenes together, each scene, the codes."""
    numbers = self.score()

    def row(label, path):
      names = ('psnr_db', 'clipped_psnr_db', 'mse', 'mae', 'r2', 'ssim')
      cells = [
        numbers.get(f'eval/{path}{name}', float('nan')) for name in names
      ]
      return [
        label,
        *(
          _small(x) if name in ('mse', 'mae') else tables.number(x)
          for x, name in zip(cells, names)
        ),
      ]

    rows = [
      row(f'model, {steps} DDIM step' + 's' * (steps > 1), f'steps_{steps}/')
      for steps in self.steps
    ]
    rows += [
      row("each patch's mean, unquantised", 'patch_mean/'),
      row("each scene's mean", 'scene_mean/'),
    ]
    together = tables.markdown(
      ('', 'PSNR (dB)', 'PSNR, clipped (dB)', 'MSE', 'MAE', 'R2', 'SSIM'), rows
    )
    apart = tables.markdown(
      ('scene', 'model (dB)', "patch's mean (dB)", "scene's mean (dB)"),
      [
        [key, *(_decibels(x[i]) for x in self.by_scene().values())]
        for i, (key, _, _) in enumerate(self.scenes[:20])
      ],
    )
    return [together, apart, image_scores.use_table(numbers)]


class Classes(image_scores.Scores):
  """Squares of class maps."""

  def __init__(
    self,
    modality: modalities.Modality,
    scenes: Sequence[image_scores.Scene],
    steps: Sequence[int],
    num_codes: int,
  ):
    """Makes empty sums; the arguments are those of `new`."""
    super().__init__(modality, scenes, steps, num_codes)
    self._matrix = np.zeros(
      (2, tile_transforms.NUM_CLASSES, tile_transforms.NUM_CLASSES), np.int64
    )

  @staticmethod
  def yardstick(image: np.ndarray) -> np.ndarray:
    """Puts the most frequent class of each patch in its place.

    Args:
      image: [Y, X, 1], classes.

    Returns:
      [Y, X, 1], classes.
    """
    return image_metrics.patch_majorities(
      image[..., 0], tile_transforms.NUM_CLASSES
    )[..., None]

  def _score(
    self,
    row: Mapping[str, Any],
    images: Mapping[int, np.ndarray],
    counted: np.ndarray,
  ) -> None:
    maps = images[self.steps[0]], self.yardstick(row['image'])
    for matrix, predicted in zip(self._matrix, maps):
      matrix += image_metrics.confusion(
        row['image'][..., 0],
        predicted[..., 0],
        counted,
        tile_transforms.NUM_CLASSES,
      )

  def score(self) -> dict[str, float]:
    """Returns {path: number} of all squares together."""
    numbers = self.use()
    for prefix, matrix in zip(('', 'patch_majority/'), self._matrix):
      numbers |= {
        f'{prefix}accuracy': image_metrics.accuracy(matrix),
        f'{prefix}miou': image_metrics.mean_iou(matrix),
      }
    return {f'eval/{name}': float(x) for name, x in numbers.items()}

  def tables(self) -> list[str]:
    """Returns Markdown tables: accuracy and mIoU, each class, the codes."""
    numbers = self.score()
    model, majority = self._matrix
    together = tables.markdown(
      ('', 'accuracy', 'mIoU'),
      [
        [
          label,
          *(
            tables.number(numbers[f'eval/{path}{name}'], 4)
            for name in ('accuracy', 'miou')
          ),
        ]
        for label, path in (
          ('model', ''),
          ("each patch's majority", 'patch_majority/'),
        )
      ],
    )
    rows = [
      [
        f'{i}',
        int(model[i].sum()),
        *(
          tables.number(float(image_metrics.iou(matrix)[i]), 3)
          for matrix in (model, majority)
        ),
      ]
      for i in range(tile_transforms.NUM_CLASSES)
      if model[i].any()
    ]
    apart = tables.markdown(
      ('class', 'pixels', 'IoU of the model', 'IoU of the majority'), rows
    )
    return [together, apart, image_scores.use_table(numbers)]


def _errors(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Sums of squared errors [scenes, C] of the model and its yardsticks."""
  count = np.maximum(sums['count'], 1)
  return {
    'model': sums['se'],
    'patch_mean': sums['patch_se'],
    'scene_mean': sums['truth_sq'] - sums['truth'] ** 2 / count,
  }


def _small(error: float) -> str:
  """An error as text: those of elevations are 1e-6."""
  return f'{error:.3g}' if np.isfinite(error) else 'n/a'


def _decibels(ratio: float) -> str:
  """A PSNR as text; above 120 dB, sums in float64 differ by rounding."""
  return 'exact' if ratio > 120 else tables.number(float(ratio), 1)
