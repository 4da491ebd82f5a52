"""Sums over the squares of held-out images, and the figures made of them."""

import numpy as np

from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.evals import tables
from fusion_jax.ops import fsq, image_metrics

_NUM_PICTURES = 6  # Scenes that are kept whole.


def new(modality, scenes, steps, num_codes):
  """An empty `Quantities` or `Classes`, as the modality has it."""
  kind = Classes if tile_transforms.is_classes(modality) else Quantities
  return kind(modality, scenes, steps, num_codes)


class _Found:
  """What the squares of all scenes add up to.

  Attributes:
    modality: of the tokens.
    scenes: (key, corner, shape) of the covered part of every scene.
    steps: numbers of DDIM steps, the first of which the headline has.
    counts: [num_codes], how often each code occurred in the squares.
    train_counts: the same of training squares; set by the evaluation.
    canvases: {'truth' | 'model' | 'yardstick': [Y, X, C]} of the first scenes.
  """

  def __init__(self, modality, scenes, steps, num_codes):
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

  def add(self, row, images):
    """Counts a square in.

    Args:
      row: dict with 'image' [Y, X, C], 'counted' and 'present' [Y, X], 'codes'
        [y, x], 'scene', 'corner'.
      images: {steps: [Y, X, C]}, the reconstructions.
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

  def use(self):
    """{path: number}: codes in use on held-out and on training squares."""
    found = {}
    for name, counts in (('', self.counts), ('train_', self.train_counts)):
      use = fsq.codebook_use(counts)
      found |= {
        f'{name}codes_used': int(use['used']),
        f'{name}codes_perplexity': float(use['perplexity']),
        f'{name}codes_counted': int(counts.sum()),
      }
    return found


class Quantities(_Found):
  """Squares of continuous images."""

  def __init__(self, *args):
    super().__init__(*args)
    shape = len(self.scenes), len(self.modality.bands)
    self._sums = {steps: {} for steps in self.steps}
    self._shape = shape
    self._ssim = {steps: np.zeros(2) for steps in self.steps}

  @staticmethod
  def yardstick(image):
    """Each patch's mean in its place."""
    return image_metrics.patch_means(image)

  def _score(self, row, images, counted):
    for steps, image in images.items():
      mine = self._sums[steps]
      for name, value in image_metrics.sums(
        row['image'], image, counted
      ).items():
        mine.setdefault(name, np.zeros(self._shape))[row['scene']] += value
      similar = image_metrics.similarity(row['image'], image)
      self._ssim[steps] += similar[counted].sum(), similar[counted].size

  def by_scene(self):
    """{'model' | 'patch_mean' | 'scene_mean': PSNR in dB [S]}."""
    sums = self._sums[self.steps[0]]
    count = np.maximum(sums['count'].sum(1), 1)
    return {
      name: image_metrics.psnr_db(errors.sum(1) / count)
      for name, errors in _errors(sums).items()
    }

  def score(self):
    """{path: number}."""
    numbers = self.use()
    for steps in self.steps:
      sums = self._sums[steps]
      count = sums['count'].sum()
      scatter = sums['truth_sq'].sum(0) - sums['truth'].sum(
        0
      ) ** 2 / np.maximum(sums['count'].sum(0), 1)
      mse = sums['se'].sum() / count
      found = {
        'mse': mse,
        'mae': sums['ae'].sum() / count,
        'r2': 1 - sums['se'].sum() / scatter.sum(),
        'psnr_db': image_metrics.psnr_db(mse),
        'clipped_psnr_db': image_metrics.psnr_db(
          sums['clipped_se'].sum() / count
        ),
        'ssim': self._ssim[steps][0] / self._ssim[steps][1],
      }
      numbers |= {f'steps_{steps}/{name}': x for name, x in found.items()}
      if steps == self.steps[0]:
        numbers |= found
        for name, errors in _errors(sums).items():
          if name != 'model':
            numbers[f'{name}/mse'] = errors.sum() / count
            numbers[f'{name}/psnr_db'] = image_metrics.psnr_db(
              errors.sum() / count
            )
    return {f'eval/{name}': float(x) for name, x in numbers.items()}

  def tables(self):
    """Markdown: all scenes together, then each."""
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
    return [together, apart, _use_table(numbers)]


class Classes(_Found):
  """Squares of class maps."""

  def __init__(self, *args):
    super().__init__(*args)
    self._matrix = np.zeros(
      (2, tile_transforms.NUM_CLASSES, tile_transforms.NUM_CLASSES), np.int64
    )

  @staticmethod
  def yardstick(image):
    """Each patch's majority in its place."""
    return image_metrics.patch_majorities(
      image[..., 0], tile_transforms.NUM_CLASSES
    )[..., None]

  def _score(self, row, images, counted):
    maps = images[self.steps[0]], self.yardstick(row['image'])
    for matrix, found in zip(self._matrix, maps):
      matrix += image_metrics.confusion(
        row['image'][..., 0],
        found[..., 0],
        counted,
        tile_transforms.NUM_CLASSES,
      )

  def score(self):
    """{path: number}."""
    numbers = self.use()
    for prefix, matrix in zip(('', 'patch_majority/'), self._matrix):
      numbers |= {
        f'{prefix}accuracy': image_metrics.accuracy(matrix),
        f'{prefix}miou': image_metrics.mean_iou(matrix),
      }
    return {f'eval/{name}': float(x) for name, x in numbers.items()}

  def tables(self):
    """Markdown: accuracy and mIoU, then the IoU of each class."""
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
    return [together, apart, _use_table(numbers)]


def _errors(sums):
  """Sums of squared errors [S, C] of the model and its yardsticks."""
  count = np.maximum(sums['count'], 1)
  return {
    'model': sums['se'],
    'patch_mean': sums['patch_se'],
    'scene_mean': sums['truth_sq'] - sums['truth'] ** 2 / count,
  }


def _small(error):
  """An error as text: those of elevations are 1e-6."""
  return f'{error:.3g}' if np.isfinite(error) else 'n/a'


def _decibels(ratio):
  """A PSNR as text; above 120 dB, sums in float64 differ by rounding."""
  return 'exact' if ratio > 120 else tables.number(float(ratio), 1)


def _use_table(numbers):
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
