"""Image tokenizers: an image becomes codes, and codes an image again.

Source: TerraMind (terrastackai/terratorch, commit 85467a9, `tokenizer/`); the
fusion paper, Sec. 3.1.1, which adds a commitment term and noise prediction
where the code has neither: the code's is used.
"""

import math

import jax
import jax.numpy as jnp
import optax

from fusion_jax import modalities
from fusion_jax.data import pipelines
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.models import (
  image_tokenizer,
  relief_tokenizer,
  tokenizer_costs,
)
from fusion_jax.ops import noise as noise_ops

_HOLDOUTS = ('split', 'east')
_STARTS, _FLIPS = ('random', 'data'), ('none', 'mirror', 'all')
_LOGISTIC_STD = math.pi / math.sqrt(3)


class ImageTokenizer:
  """The task of `configs/image_tokenizer.py`; see train/loop.py.

  Attributes:
    modality: of the tokens.
    model: the tokenizer.
  """

  def __init__(self, config, data_dir=''):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: of configs/image_tokenizer.py.
      data_dir: folder of the prepared data set; not needed to use a trained
        tokenizer.

    Raises:
      ValueError: for a modality without tokens, statistics of another number
        of bands, or a hold-out that does not exist.
    """
    self._config = config
    self._data_dir = data_dir
    self.modality = token_modality(config.modality)
    self.model = make_model(config)
    self._shares = noise_ops.signal_shares()
    self._classes = tile_transforms.is_classes(self.modality)
    _check('data.holdout', config.data.holdout, _HOLDOUTS)
    _check('start', config.start, _STARTS)
    bands = len(self.modality.bands)
    if {len(config.standards.mean), len(config.standards.std)} != {bands}:
      raise ValueError(
        f'config.standards has {len(config.standards.mean)} means and '
        f'{len(config.standards.std)} deviations for the {bands} bands of '
        f'{self.modality.field}.'
      )
    self._standardise = tile_transforms.Standardise(
      self.modality, config.standards.mean, config.standards.std
    )

  @property
  def num_codes(self):
    return self.model.fsq.num_codes

  @property
  def tokens_per_step(self):
    """Tokens of the images of a global batch."""
    config = self._config
    return config.batch_size * (config.image_size // modalities.PATCH) ** 2

  @property
  def holdout(self):
    """One sentence on what is held out."""
    if self._config.data.holdout == 'east':
      return (
        'Held out is the eastern third of every scene: no column of it '
        'was seen in training.'
      )
    return 'Held out are the scenes of the validation split.'

  def keep(self, workdir):
    """Nothing more: configuration and statistics are in the checkpoint."""

  def init(self, key, batch):
    """Fresh parameters; no other arrays."""
    inputs = self._inputs(batch)
    params = self.model.init(key, *inputs)['params']
    if self._config.start == 'data':
      features = self.model.apply(
        {'params': params}, inputs[0], method='features'
      )
      learned = params['to_latents']['bias'].size
      params = params | {
        'to_latents': _principal(
          features.reshape(-1, features.shape[-1]), learned
        )
      }
    return params, {}

  def weigh(self, batch):
    """Adds each pixel's share of the mean over the whole batch."""
    present = batch['present'].astype(jnp.float32)
    return batch | {'weight': present / jnp.maximum(present.sum(), 1)}

  def loss(self, params, extra, batch, key):
    """Mean over pixels of the squared error of x_0, or of the cross-entropy.

    To it comes `spread`, weighed relative to the loss. Metrics: the
    loss without it; 'spread'; and 'last', the loss of the examples which the
    decoder was shown as noise alone, where codes have to tell everything.
    """
    del key  # Noise comes with the example, see `tile_transforms.DrawNoise`.
    output, found = self.model.apply(
      {'params': params},
      *self._inputs(batch),
      mutable='intermediates',
      capture_intermediates=lambda module, _: module.name == 'to_latents',
    )
    latents = found['intermediates']['to_latents']['__call__'][0]
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

  def standardise(self, images):
    """{'image', 'present'} of images [..., Y, X, C] as stored; see `tiles`."""
    standards = self._config.standards
    return tile_transforms.standardise(
      images, self.modality, standards.mean, standards.std
    )

  def encode(self, params, images):
    """Codes [B, y, x] int32 of standardised images [B, Y, X, C]."""
    return self.model.apply({'params': params}, images, method='encode')

  def decode(self, params, codes, seeds=None, num_steps=1, clip=jnp.inf):
    """Images [B, Y, X, C] of codes; of classes [B, Y, X, 1], the likeliest.

    Args:
      params: of the model.
      codes: [B, y, x].
      seeds: [B] uint32, of the noise that the diffusion starts with.
      num_steps: of DDIM. At the first one the decoder sees noise alone, so a
        single step is its conditional mean given the codes, the best in mean
        squared error; more steps draw details instead.
      clip: bound of every pixel, in standard deviations; inf for none.
    """
    if self._classes:
      logits = self.model.apply({'params': params}, codes, method='decode')
      return logits.argmax(-1)[..., None]
    shape = (
      *(n * modalities.PATCH for n in codes.shape[1:]),
      len(self.modality.bands),
    )
    codes = self.model.fsq.from_indices(codes)
    return self.model.apply(
      {'params': params},
      codes,
      _draw(seeds, shape),
      num_steps,
      clip,
      method='sample',
    )

  def batches(self, split):
    """Endless shuffled squares with noise for 'train'; else `tiles`."""
    config = self._config
    if split != 'train':
      return self.tiles(split)[1]
    columns = (
      tile_transforms.west
      if config.data.holdout == 'east'
      else tile_transforms.everywhere
    )
    steps = [
      tile_transforms.RandomTile(
        self.modality.field, config.image_size, columns
      ),
      *self._flips(),
      self._standardise,
      tile_transforms.DrawNoise(noise_ops.NUM_LEVELS, config.last_share),
      tile_transforms.Keep(('image', 'present', 'step', 'noise')),
    ]
    source = tile_transforms.Having(self.source('train'), self.modality.field)
    return pipelines.train_batches(
      source, steps, batch_size=config.batch_size, seed=config.seed
    )

  def tiles(self, split):
    """Squares side by side: the `Tiles` of a split, and batches of them."""
    config = self._config
    columns = tile_transforms.everywhere
    if config.data.holdout == 'east':
      columns = (
        tile_transforms.west if split == 'train' else tile_transforms.east
      )
    found = tile_transforms.Tiles(
      self.source(split),
      self.modality.field,
      config.image_size,
      columns,
      config.evals.num_examples,
    )
    steps = [
      self._standardise,
      tile_transforms.DrawNoise(noise_ops.NUM_LEVELS),
      tile_transforms.Keep(
        ('image', 'present', 'counted', 'scene', 'corner', 'noise')
      ),
    ]
    return found, pipelines.eval_batches(
      found, steps, batch_size=config.evals.batch_size, seed=config.seed
    )

  def source(self, split):
    """The examples of a split; of both where every scene's east is held out."""
    east = self._config.data.holdout == 'east'
    found = [
      pipelines.open_source(self._data_dir, name)
      for name in (('train', 'val') if east else (split,))
    ]
    if self.modality.field not in found[0].fields:
      raise ValueError(
        f'The data set in {self._data_dir} has no {self.modality.field}; '
        f'its fields are {sorted(found[0].fields)}. Train another modality, '
        'or prepare the data with it.'
      )
    return tile_transforms.Joined(*found)

  def flops(self, batch):
    """Model FLOPs of a training step on a batch."""
    return tokenizer_costs.training_flops(self.model, *batch['image'].shape[:3])

  def _inputs(self, batch):
    """What the model is called with."""
    if self._classes:
      return (batch['image'][..., 0],)
    image = batch['image']
    noise = _draw(batch['noise'], image.shape[1:])
    noisy = noise_ops.add_noise(image, noise, batch['step'], self._shares)
    return image, noisy, batch['step']

  def _flips(self):
    _check('flips', self._config.flips, _FLIPS)
    if self._config.flips == 'none':
      return []
    return [
      tile_transforms.Flip(self.modality.field, self._config.flips == 'all')
    ]


def _check(name, value, choices):
  if value not in choices:
    raise ValueError(f'config.{name}={value!r} is not one of {choices}.')


def spread(latents):
  """How far latents are from using all codes equally often, a scalar.

  The squared means of the channels, and the squared difference of their
  covariances from those of independent logistic ones, whose sigmoids are
  uniform. Without it the sigmoids of a short run soon saturate: then every
  channel has two levels left, and no gradient.

  Differs from the paper: it relies on the sigmoid alone, at batch 2048.

  Args:
    latents: [B, y, x, C], before quantisation.
  """
  latents = latents.reshape(-1, latents.shape[-1]) / _LOGISTIC_STD
  means = latents.mean(0)
  centred = latents - means[None]
  covariances = centred.T @ centred / len(latents)
  return jnp.mean(means**2) + jnp.mean((covariances - jnp.eye(len(means))) ** 2)


def make_model(config):
  """The tokenizer that a configuration describes."""
  settings = {
    name: tuple(value) if isinstance(value, (list, tuple)) else value
    for name, value in config.model.items()
  }
  settings['dtype'] = jnp.dtype(config.model.dtype)
  if 'span' in settings:
    bands = token_modality(config.modality).bands
    return relief_tokenizer.ReliefTokenizer(len(bands), **settings)
  return image_tokenizer.make(config.modality, **settings)


def token_modality(name):
  """The tokenised image modality of a sensor, such as 'S2L2A'.

  Raises:
    ValueError: if there is none.
  """
  modality = modalities.get(name, role='target')
  if modality.kind != 'tokens':
    raise ValueError(f'{name} has no image tokenizer.')
  return modality


def _principal(features, count):
  """The projection onto principal axes that fills the levels of each.

  Args:
    features: [N, D], of a batch.
    count: C, how many axes.

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


def _draw(seeds, shape):
  """Standard normal noise [B, *shape], one seed an example."""
  return jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), shape))(
    seeds
  )
