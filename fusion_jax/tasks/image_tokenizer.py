"""Image tokenizers: an image becomes codes, and codes an image again.

Source: TerraMind (terrastackai/terratorch, commit 85467a9, `tokenizer/`); the
fusion paper, Sec. 3.1.1, which adds a commitment term and noise prediction
where the code has neither: the code's is used.
"""

import math
import pathlib
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from fusion_jax import modalities
from fusion_jax.assembly import image_tokenizer as assembly_lib
from fusion_jax.data import pipelines
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.data.transforms import tiles as tile_sources
from fusion_jax.models import image_tokenizer, tokenizer_costs
from fusion_jax.ops import noise as noise_ops
from fusion_jax.types import (
  Array,
  Batch,
  Config,
  Key,
  Metrics,
  Params,
  Source,
)

_HOLDOUTS = ('split', 'east')
_STARTS, _FLIPS = ('random', 'data'), ('none', 'mirror', 'all')
_LOGISTIC_STD = math.pi / math.sqrt(3)


class ImageTokenizer:
  """The task of `configs/image_tokenizer.py`; see train/loop.py.

  Attributes:
    assembly: the tokenizer with the standardisation of its images.
    modality: modality of the tokens.
    model: the tokenizer that is trained.
  """

  assembly: assembly_lib.ImageAssembly
  modality: modalities.Modality
  model: image_tokenizer.ImageTokenizer | image_tokenizer.ClassTokenizer

  def __init__(self, config: Config, data_dir: str | pathlib.Path = ''):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: configuration of configs/image_tokenizer.py.
      data_dir: folder of the prepared data set; not needed where no examples
        are read.

    Raises:
      ValueError: if the modality has no tokens, the standardisation is of
        another number of bands, or a choice does not exist.
    """
    self._config = config
    self._data_dir = data_dir
    self.assembly = assembly_lib.assemble(config)
    self.modality = self.assembly.modality
    self.model = self.assembly.model
    self._shares = noise_ops.signal_shares()
    self._classes = self.assembly.is_classes
    # The east is held out of the joined splits of one data set.
    holdouts = _HOLDOUTS[:1] if config.data.parts else _HOLDOUTS
    _check('data.holdout', config.data.holdout, holdouts)
    _check('start', config.start, _STARTS)

  @property
  def num_codes(self) -> int:
    """Returns the size of the codebook."""
    return self.assembly.num_codes

  @property
  def tokens_per_step(self) -> int:
    """Returns the number of tokens of the images of a global batch."""
    config = self._config
    return config.batch_size * (config.image_size // modalities.PATCH) ** 2

  @property
  def holdout(self) -> str:
    """Returns one sentence on what is held out."""
    if self._config.data.holdout == 'east':
      return (
        'Held out is the eastern third of every scene: no column of it '
        'was seen in training.'
      )
    return 'Held out are the scenes of the validation split.'

  def keep(self, workdir: pathlib.Path) -> None:
    """Does nothing: the configuration is all that using the model needs."""

  def init(self, key: Key, batch: Batch) -> tuple[Params, Any]:
    """Returns fresh parameters, and no other arrays.

    With `config.start='data'` the latents start on the principal axes of the
    features of the batch.

    Args:
      key: key of the random initial values.
      batch: batch of `batches`.
    """
    inputs = self._inputs(batch)
    params = cast(Params, self.model.init(key, *inputs)['params'])
    if self._config.start == 'data':
      features = cast(
        jax.Array,
        self.model.apply({'params': params}, inputs[0], method='features'),
      )
      latents = _principal(
        features.reshape(-1, features.shape[-1]),
        params['to_latents']['bias'].size,
      )
      params = {**params, 'to_latents': latents}
    return params, {}

  def weigh(self, batch: Batch) -> Batch:
    """Adds each pixel's share of the mean over the whole batch.

    Args:
      batch: global batch of `batches`.

    Returns:
      The batch with 'weight' [B, Y, X], which sums to 1.
    """
    present = batch['present'].astype(jnp.float32)
    return {**batch, 'weight': present / jnp.maximum(present.sum(), 1)}

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: Key
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the loss of a batch.

    Args:
      params: parameters of the tokenizer.
      extra: no arrays; returned as it is.
      batch: batch of `weigh`, arrays [B, ...].
      key: not used: noise comes with the example, see
        `tile_transforms.DrawNoise`.

    Returns:
      The mean over pixels of the squared error of the clean image, or of the
      cross-entropy of classes, to which `spread` is added with a weight
      relative to the loss. Then the metrics and `extra`. Metrics are the loss
      without `spread`; 'spread'; and 'last', the loss of the examples which the
      decoder was shown as noise alone, where codes have to tell everything.
    """
    del key
    output, captured = self.model.apply(
      {'params': params},
      *self._inputs(batch),
      mutable='intermediates',
      capture_intermediates=lambda module, _: module.name == 'to_latents',
    )
    intermediates: Any = captured['intermediates']
    latents = intermediates['to_latents']['__call__'][0]
    image = batch['image']
    if self._classes:
      errors = optax.softmax_cross_entropy_with_integer_labels(
        output.astype(jnp.float32), image[..., 0]
      )
    else:
      errors = jnp.square(output.astype(jnp.float32) - image).mean(-1)
    by_example = (errors * batch['weight']).sum((1, 2))
    loss, shares = by_example.sum(), batch['weight'].sum((1, 2))
    uneven = spread(latents)
    metrics = {
      f'loss/{self.modality.name}': (loss, shares.sum()),
      'spread': (uneven * shares.sum(), shares.sum()),
    }
    if not self._classes:
      last = batch['step'] == noise_ops.NUM_LEVELS - 1
      metrics['last'] = ((by_example * last).sum(), (shares * last).sum())
    # Relative: errors of elevations are a thousandth of those of reflectances.
    weight = self._config.spread_weight * jax.lax.stop_gradient(loss)
    return loss + weight * uneven, (metrics, extra)

  def standardise(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Standardises images [..., Y, X, C]; see `ImageAssembly.standardise`."""
    return self.assembly.standardise(images)

  def encode(self, params: Params, images: Array) -> Array:
    """Returns codes [B, y, x] of images; see `ImageAssembly.encode`."""
    return self.assembly.encode(params, images)

  def decode(
    self,
    params: Params,
    codes: Array,
    seeds: Array | None = None,
    num_steps: int = 1,
    clip: Array | float = jnp.inf,
  ) -> Array:
    """Returns images [B, Y, X, C] of codes; see `ImageAssembly.decode`."""
    return self.assembly.decode(params, codes, seeds, num_steps, clip)

  def batches(self, split: str) -> grain.DatasetIterator:
    """Returns batches of this process's share of a split.

    Args:
      split: 'train' for endless shuffled squares with noise. Any other split
        has the squares of `tiles`.
    """
    config = self._config
    if split != 'train':
      return self.tiles(split)[1]
    columns = (
      tile_sources.west
      if config.data.holdout == 'east'
      else tile_sources.everywhere
    )
    steps = [
      tile_transforms.RandomTile(
        self.modality.field, config.image_size, columns
      ),
      *self._flips(),
      self.assembly.standardisation,
      tile_transforms.DrawNoise(noise_ops.NUM_LEVELS, config.last_share),
      tile_transforms.Keep(('image', 'present', 'step', 'noise')),
    ]
    source = tile_sources.having(self.source('train'), self.modality.field)
    return pipelines.train_batches(
      source, steps, batch_size=config.batch_size, seed=config.seed
    )

  def tiles(
    self, split: str
  ) -> tuple[tile_sources.Tiles, grain.DatasetIterator]:
    """Returns the squares of a split, side by side, and batches of them."""
    config = self._config
    columns = tile_sources.everywhere
    if config.data.holdout == 'east':
      columns = tile_sources.west if split == 'train' else tile_sources.east
    tiles = tile_sources.Tiles(
      self.source(split),
      self.modality.field,
      config.image_size,
      columns,
      config.evals.num_examples,
    )
    steps = [
      self.assembly.standardisation,
      tile_transforms.DrawNoise(noise_ops.NUM_LEVELS),
      tile_transforms.Keep(
        ('image', 'present', 'counted', 'scene', 'corner', 'noise')
      ),
    ]
    return tiles, pipelines.eval_batches(
      tiles, steps, batch_size=config.evals.batch_size, seed=config.seed
    )

  def source(self, split: str) -> Source:
    """Returns the examples of a split.

    Where the east of every scene is held out, these are the examples of both
    'train' and 'val'.

    Raises:
      ValueError: if the data set lacks the images of the modality.
    """
    east = self._config.data.holdout == 'east'
    sources = [
      pipelines.open_source(self._data_dir, name)
      for name in (('train', 'val') if east else (split,))
    ]
    if self.modality.field not in sources[0].fields:
      raise ValueError(
        f'The data set in {self._data_dir} has no {self.modality.field}; '
        f'its fields are {sorted(sources[0].fields)}. Train another modality, '
        'or prepare the data with it.'
      )
    return tile_sources.Joined(*sources) if east else sources[0]

  def flops(self, batch: Batch) -> float:
    """Returns the model FLOPs of a training step on a batch."""
    return tokenizer_costs.training_flops(self.model, *batch['image'].shape[:3])

  def _inputs(self, batch: Batch) -> tuple[Array, ...]:
    """Returns the arguments that the model is called with."""
    if self._classes:
      return (batch['image'][..., 0],)
    image = batch['image']
    noise = assembly_lib.draw_noise(batch['noise'], image.shape[1:])
    noisy = noise_ops.add_noise(image, noise, batch['step'], self._shares)
    return image, noisy, batch['step']

  def _flips(self) -> list[grain.transforms.RandomMap]:
    """Returns the transforms that mirror or turn squares at random."""
    _check('flips', self._config.flips, _FLIPS)
    if self._config.flips == 'none':
      return []
    return [
      tile_transforms.Flip(self.modality.field, self._config.flips == 'all')
    ]


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
  """Raises a ValueError if a choice of the configuration does not exist."""
  if value not in choices:
    raise ValueError(f'config.{name}={value!r} is not one of {choices}.')


def spread(latents: Array) -> jax.Array:
  """Returns how far latents are from using all codes equally often, a scalar.

  It is the mean of the squared means of the channels, plus that of the squared
  differences of their covariances from those of independent logistic
  distributions, whose sigmoids are uniform. Without it the sigmoids of a short
  run soon saturate: then every channel has two levels left, and no gradient.

  Differs from the paper: it relies on the sigmoid alone, at batch 2048.

  Args:
    latents: [B, y, x, C] latents before quantisation.
  """
  latents = latents.reshape(-1, latents.shape[-1]) / _LOGISTIC_STD
  means = latents.mean(0)
  centred = latents - means[None]
  covariances = centred.T @ centred / len(latents)
  return jnp.mean(means**2) + jnp.mean((covariances - jnp.eye(len(means))) ** 2)


def _principal(features: Array, count: int) -> dict[str, Array]:
  """Returns the projection onto principal axes that fills their levels.

  Args:
    features: [N, D] features of the patches of a batch.
    count: number C of axes.

  Returns:
    {'kernel': [D, C], 'bias': [C]}: the projections of `features` have mean 0
    and the deviation of the logistic distribution, so that their sigmoids use
    every level about equally often.
  """
  features = features.astype(jnp.float32)
  mean = features.mean(0)
  scatter = (features - mean[None]).T @ (features - mean[None]) / len(features)
  variances, axes = jnp.linalg.eigh(scatter)  # Ascending.
  axes, variances = axes[:, ::-1][:, :count], variances[::-1][:count]
  kernel = axes * (_LOGISTIC_STD / jnp.sqrt(variances + 1e-12))[None]
  return {'kernel': kernel, 'bias': -mean @ kernel}
