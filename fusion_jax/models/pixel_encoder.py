"""TimeSenCLIP's satellite encoder: one pixel's year as a vector for CLIP.

A post-norm transformer over a class token and one token a month. Source:
TimeSenCLIP `src/models/encoder.py` (commit a48994f).
Differs from the paper: ReLU, as in all released code, not GELU.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, dropping


class PixelEncoder(nn.Module):
  """A time series of k x k pixels [B, T, C, k, k] as a vector [B, E].

  The sequence has one length; a month that is not there is masked as a key,
  which changes the output no more than removing it would. Only the class token
  is read at the end, so the last layer computes no other.

  Attributes:
    width: D.
    depth: L, layers.
    num_heads: must divide the width.
    hidden: width of the MLPs; 256 in the paper, less than D.
    output_width: E, that of CLIP's joint space.
    num_bands: C.
    side: k, pixels; 1, 5 or 9 in the paper.
    activation: 'relu', or 'gelu' (exact), which the paper names.
    dropout: rate in the layers while training.
    single: position of a lone time step that is no month: 'mean' of the
      twelve, or 'first', January's, as the newest code has it by accident.
      Where one month of several is kept, it is always the mean.
    kept: positions of the kept months: their 'own', or the 'first' so many, as
      the oldest code.
    dtype: of the computation; parameters are float32.
    unroll: layers a turn of the loop over layers; more compile longer.
  """
  width: int = 512
  depth: int = 6
  num_heads: int = 8
  hidden: int = 256
  output_width: int = 512
  num_bands: int = 10
  side: int = 1
  activation: str = 'relu'
  dropout: float = 0.2
  single: str = 'mean'
  kept: str = 'own'
  dtype: Any = jnp.float32
  unroll: int = 1

  def setup(self):
    self._check()
    zeros = nn.initializers.zeros
    self.embed = post_norm.Linear(self.width, dtype=self.dtype)
    self.positions = self.param(
        'positions', zeros, (calendar.MONTHS, self.width))
    self.class_token = self.param('class_token', zeros, (self.width,))
    block = (self.num_heads, self.hidden, self.activation, self.dropout,
             self.dtype)
    if self.depth > 1:
      self.blocks = post_norm.PostNormBlock(*block)
    self.last = post_norm.PostNormBlock(*block)
    self.norm = post_norm.layer_norm(self.dtype)
    self.head = post_norm.Linear(self.output_width, dtype=self.dtype)

  def __call__(self, pixels, keep=None, *, months=None, median=None,
               train=False):
    """Encodes time series.

    Args:
      pixels: [B, T, C, k, k], normalised to [0, 1], bands B2 .. B12 in order.
        What is not kept may hold anything, NaN included.
      keep: bool [B or 1, T], the time steps that exist. None: all.
      months: [B or 1, T] months as fractions, 0 = middle of January; see
        `calendar.months_of_days`. Positions in between run linearly, from
        December to January too; whole numbers are the twelve months. None: T
        is 12 (months), 4 (quarters, medians of their positions) or 1.
      median: bool [B or 1], where all kept tokens become one, their lower
        median. None: nowhere.
      train: whether to drop; needs the random stream 'dropout'.

    Returns:
      [B, E], not normalised.

    Raises:
      ValueError: if the pixels have another shape, or another number of steps
        without `months`.
    """
    tokens, visible = self.sequence(pixels, keep, months, median)
    if self.depth > 1:
      tokens = self._scan(tokens, visible, train)[0]
    token = self.last(tokens, visible, train, first_only=True)[:, 0]
    return self.head(self.norm(token))

  def sequence(self, pixels, keep=None, months=None, median=None):
    """What the layers see: tokens [B, T + 1, D], visible [B or 1, 1, 1, T + 1].

    Arguments are those of `__call__`.
    """
    batch, steps = self._shape(pixels, months)
    keep = jnp.ones((1, steps), bool) if keep is None else keep
    pixels = jnp.where(keep[:, :, None, None, None], pixels, 0)
    tokens = self.embed(pixels.reshape(batch, steps, -1))
    positions = self._positions(keep, steps, months)
    if median is not None:
      tokens, positions, keep = self._collapse(
          tokens, positions, keep, median)
    first = jnp.broadcast_to(
        self.class_token.astype(self.dtype), (batch, 1, self.width))
    tokens = jnp.concatenate(
        [first, tokens + positions.astype(self.dtype)], axis=1)
    visible = jnp.concatenate(
        [jnp.ones((len(keep), 1), bool), keep], axis=1)
    return tokens, visible[:, None, None, :]

  def layers(self, pixels, keep=None, *, months=None, median=None):
    """Every token after every layer, [L, B, T + 1, D]; see `__call__`."""
    tokens, visible = self.sequence(pixels, keep, months, median)
    found = []
    if self.depth > 1:
      tokens, found = self._scan(tokens, visible, False)
    last = self.last(tokens, visible, False)
    return jnp.stack([*found, last])

  def _scan(self, tokens, visible, train):
    """All layers but the last: tokens, and those of every layer."""
    def body(block, tokens, visible):
      tokens = block(tokens, visible, train)
      return tokens, tokens

    return nn.scan(
        body, variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True}, in_axes=nn.broadcast,
        length=self.depth - 1, unroll=min(self.unroll, self.depth - 1))(
            self.blocks, tokens, visible)

  def _positions(self, keep, steps, months):
    """[B or 1, T, D]: of every step, whether kept or not."""
    table = self.positions
    count = jnp.sum(keep, axis=1)[:, None, None]
    mean = jnp.mean(table, axis=0)[None, None]
    if months is not None:
      own = _interpolated(table, months)
    elif steps == 1:
      return mean if self.single == 'mean' else table[None, :1]
    else:
      own = calendar.lower_median(
          table.reshape(steps, calendar.MONTHS // steps, -1))[None]
    if self.kept == 'first':
      own = jnp.take_along_axis(
          jnp.broadcast_to(own, (len(keep), *own.shape[1:])),
          jnp.maximum(jnp.cumsum(keep, axis=1) - 1, 0)[:, :, None], axis=1)
    return jnp.where(count > 1, own, mean)

  def _collapse(self, tokens, positions, keep, median):
    """Puts the median of the tokens on the first step, where asked to."""
    steps = tokens.shape[1]
    found = calendar.lower_median(tokens, keep)[:, None]
    chosen = median[:, None, None]
    first = (jax.lax.iota(jnp.int32, steps) == 0)[None, :]
    tokens = jnp.where(chosen & first[:, :, None], found, tokens)
    mean = jnp.mean(self.positions, axis=0)[None, None]
    positions = jnp.where(chosen, mean, positions)
    alone = first & keep.any(axis=1, keepdims=True)
    return tokens, positions, jnp.where(median[:, None], alone, keep)

  def _shape(self, pixels, months):
    """(B, T) of the pixels, checked."""
    wanted = (self.num_bands, self.side, self.side)
    if pixels.ndim != 5 or pixels.shape[2:] != wanted:
      raise ValueError(
          f'pixels is {pixels.shape}; wanted is [B, T, {self.num_bands} bands, '
          f'{self.side} rows, {self.side} columns].')
    steps = pixels.shape[1]
    if months is None and steps not in calendar.SETTINGS.values():
      raise ValueError(
          f'pixels has {steps} time steps; without `months` these must be '
          f'12 months, 4 quarters or 1. Pass `months` for other dates.')
    return pixels.shape[:2]

  def _check(self):
    choices = {'activation': sorted(post_norm.ACTIVATIONS),
               'single': ['mean', 'first'], 'kept': ['own', 'first']}
    for name, allowed in choices.items():
      if getattr(self, name) not in allowed:
        raise ValueError(f'{name}={getattr(self, name)!r} is not one of '
                         f'{allowed}.')


def init(encoder, key, identical=False):
  """Fresh parameters of a `PixelEncoder`.

  Args:
    encoder: `PixelEncoder`.
    key: of the draws.
    identical: start all layers alike, as `nn.TransformerEncoder` does, which
      copies one layer. Independent layers are our choice.
  """
  shape = (1, calendar.MONTHS, encoder.num_bands, encoder.side, encoder.side)
  params = encoder.init(key, jnp.zeros(shape))['params']
  if identical and encoder.depth > 1:
    params = params | {'blocks': jax.tree.map(
        lambda x: jnp.broadcast_to(x, (encoder.depth - 1, *x.shape)),
        params['last'])}
  return params


def make(settings):
  """The encoder of the section `model` of a configuration."""
  return PixelEncoder(**dict(settings, dtype=jnp.dtype(settings.dtype)))


def embed(encoder, params, pixels, keep, setting='monthly'):
  """Vectors [B, E] of years of months, seen as `setting` says.

  Args:
    encoder: `PixelEncoder`.
    params: of it.
    pixels: [B, 12, C, k, k] in [0, 1], finite.
    keep: bool [B, 12], the months that are there.
    setting: 'monthly', 'quarterly' or 'single', see `calendar.summarise`.
  """
  pixels, keep = calendar.summarise(pixels, keep, setting)
  return encoder.apply({'params': params}, pixels, keep)


def embed_augmented(encoder, params, pixels, keep, key, kind='none',
                    per_sample=False):
  """Vectors [B, E] for training: months and bands left out, dropout on.

  Where nothing would be left of a sample, its months stay all.

  Args:
    encoder: `PixelEncoder`.
    params: of it.
    pixels: [B, 12, C, k, k] in [0, 1], finite.
    keep: bool [B, 12], the months that are there.
    key: of all draws.
    kind: see `dropping.draw`.
    per_sample: likewise.
  """
  key_drops, key_dropout = jax.random.split(key)
  drops = dropping.draw(
      key_drops, kind, len(pixels), num_bands=encoder.num_bands,
      per_sample=per_sample)
  left = keep & drops.months
  left = jnp.where(left.any(axis=1, keepdims=True), left, keep)
  pixels = jnp.where(drops.bands[:, None, :, None, None], pixels, 0)
  return encoder.apply(
      {'params': params}, pixels, left,
      median=drops.median if kind == 'tsmixaug' else None, train=True,
      rngs={'dropout': key_dropout})


def _interpolated(table, months):
  """Rows of [12, D] at fractions of months, [B or 1, T] to [B or 1, T, D]."""
  months = jnp.asarray(months, jnp.float32) % calendar.MONTHS
  before = jnp.floor(months)
  share = (months - before)[..., None]
  before = before.astype(jnp.int32) % calendar.MONTHS
  after = (before + 1) % calendar.MONTHS
  return (1 - share) * table[before] + share * table[after]
