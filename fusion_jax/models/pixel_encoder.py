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
  is read at the end, so the last layer computes no other; and the tokens of
  single pixels are products of few numbers, by which the first layer attends.

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
      'positions', zeros, (calendar.MONTHS, self.width)
    )
    self.class_token = self.param('class_token', zeros, (self.width,))
    block = (
      self.width,
      self.num_heads,
      self.hidden,
      self.activation,
      self.dropout,
      self.dtype,
    )
    if self.depth > 1:
      self.first = post_norm.PostNormBlock(*block)
    if self.depth > 2:
      self.blocks = post_norm.PostNormBlock(*block)
    self.last = post_norm.PostNormBlock(*block)
    self.norm = post_norm.layer_norm(self.dtype)
    self.head = post_norm.Linear(self.output_width, dtype=self.dtype)

  def __call__(
    self, pixels, keep=None, *, months=None, median=None, train=False
  ):
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
    (tokens, visible), factors = self._sequence(pixels, keep, months, median)
    tokens, _ = self._all_but_last(tokens, visible, factors, train)
    token = self.last(tokens, visible, train, first_only=True)[:, 0]
    return self.head(self.norm(token))

  def sequence(self, pixels, keep=None, months=None, median=None):
    """What the layers see: tokens [B, T + 1, D], visible [B or 1, 1, 1, T + 1].

    Arguments are those of `__call__`.
    """
    return self._sequence(pixels, keep, months, median)[0]

  def layers(self, pixels, keep=None, *, months=None, median=None):
    """Every token after every layer, [L, B, T + 1, D]; see `__call__`."""
    (tokens, visible), factors = self._sequence(pixels, keep, months, median)
    tokens, found = self._all_but_last(tokens, visible, factors, False)
    return jnp.stack([*found, self.last(tokens, visible, False)])

  def _sequence(self, pixels, keep, months, median):
    """`sequence`, and its factors where the first layer attends by them."""
    batch, steps = self._shape(pixels, months)
    keep = jnp.ones((1, steps), bool) if keep is None else keep
    pixels = jnp.where(keep[:, :, None, None, None], pixels, 0)
    pixels = pixels.reshape(batch, steps, -1)
    features, rows = self._features(
      pixels, *self._positions(keep, steps, months)
    )
    tokens = (features.reshape(-1, len(rows)) @ rows).reshape(
      batch, steps + 1, self.width
    )
    few = median is None and self.attends_by_factors(len(rows))
    factors = (features, rows) if few else None
    if median is not None:
      tokens, keep = self._collapse(tokens, pixels, keep, median)
    visible = jnp.concatenate([jnp.ones((len(keep), 1), bool), keep], axis=1)
    return (tokens, visible[:, None, None, :]), factors

  def attends_by_factors(self, features):
    """Whether the first layer does, tokens being products of so many features.

    Then there are fewer than a head is wide: 24 of 64 for twelve single pixels.
    """
    return features < self.width // self.num_heads

  def _features(self, pixels, shares, table):
    """([B, T + 1, F], [F, D]), whose product are the tokens.

    Features are the pixels, how much of which position a step has (together 1,
    so that rows of positions carry the bias) and whether it is the class token.
    """
    batch, steps, width = pixels.shape
    kernel, bias = self.embed.weights(width)
    rows = jnp.concatenate(
      [
        kernel,
        table.astype(self.dtype) + bias[None],
        self.class_token[None].astype(self.dtype),
      ]
    )
    shares = jnp.broadcast_to(shares, (batch, *shares.shape[1:]))
    of_steps = jnp.concatenate([pixels, shares], axis=2)
    of_class = jnp.zeros((batch, 1, len(rows))).at[:, :, -1].set(1)
    features = jnp.concatenate(
      [of_class, jnp.pad(of_steps, ((0, 0), (0, 0), (0, 1)))], axis=1
    )
    return features.astype(self.dtype), rows

  def _all_but_last(self, tokens, visible, factors, train):
    """Tokens after all layers but the last, and a list of those of each."""
    if self.depth == 1:
      return tokens, []
    first = self.first(tokens, visible, train, factors=factors)
    if self.depth == 2:
      return first, [first]

    def body(block, tokens, visible):
      tokens = block(tokens, visible, train)
      return tokens, tokens

    tokens, others = nn.scan(
      body,
      variable_axes={'params': 0},
      split_rngs={'params': True, 'dropout': True},
      in_axes=nn.broadcast,
      length=self.depth - 2,
      unroll=min(self.unroll, self.depth - 2),
    )(self.blocks, first, visible)
    return tokens, [first, *others]

  def _positions(self, keep, steps, months):
    """(shares [B or 1, T, R], table [R, D]): their product are the positions.

    Of every step, whether kept or not. The last row is the mean of the twelve;
    a single step has that alone, or January's.
    """
    table = self.positions
    mean = jnp.mean(table, axis=0)[None]
    if months is not None:
      own = calendar.shares_of_months(months)
    elif steps == 1:
      return jnp.ones((1, 1, 1)), mean if self.single == 'mean' else table[:1]
    else:
      table = calendar.lower_median(
        table.reshape(steps, calendar.MONTHS // steps, -1)
      )
      own = jnp.eye(steps)[None]
    batch = max(len(own), len(keep))
    own = jnp.broadcast_to(own, (batch, *own.shape[1:]))
    keep = jnp.broadcast_to(keep, (batch, steps))
    if self.kept == 'first':
      own = jnp.take_along_axis(
        own, jnp.maximum(jnp.cumsum(keep, axis=1) - 1, 0)[:, :, None], axis=1
      )
    alone = (jnp.sum(keep, axis=1) <= 1)[:, None, None]
    of_mean = jnp.broadcast_to(alone, (batch, steps, 1))
    shares = jnp.concatenate([jnp.where(alone, 0, own), of_mean], axis=2)
    return shares, jnp.concatenate([table, mean])

  def _collapse(self, tokens, pixels, keep, median):
    """Puts the median of the kept tokens, without positions, on the first step.

    Only where `median` asks for it; the other steps are then hidden.
    """
    found = calendar.lower_median(self.embed(pixels), keep)
    found += jnp.mean(self.positions, axis=0)[None].astype(self.dtype)
    tokens = tokens.at[:, 1].set(
      jnp.where(median[:, None], found, tokens[:, 1])
    )
    first = (jax.lax.iota(jnp.int32, keep.shape[1]) == 0)[None, :]
    alone = first & keep.any(axis=1, keepdims=True)
    return tokens, jnp.where(median[:, None], alone, keep)

  def _shape(self, pixels, months):
    """(B, T) of the pixels, checked."""
    wanted = (self.num_bands, self.side, self.side)
    if pixels.ndim != 5 or pixels.shape[2:] != wanted:
      raise ValueError(
        f'pixels is {pixels.shape}; wanted is [B, T, {self.num_bands} bands, '
        f'{self.side} rows, {self.side} columns].'
      )
    steps = pixels.shape[1]
    if months is None and steps not in calendar.SETTINGS.values():
      raise ValueError(
        f'pixels has {steps} time steps; without `months` these must be '
        f'12 months, 4 quarters or 1. Pass `months` for other dates.'
      )
    return pixels.shape[:2]

  def _check(self):
    if self.depth < 1 or self.width % self.num_heads:
      raise ValueError(
        f'depth={self.depth}, width={self.width}, num_heads={self.num_heads}:'
        ' there must be a layer, and the heads must divide the width.'
      )
    choices = {
      'activation': sorted(post_norm.ACTIVATIONS),
      'single': ['mean', 'first'],
      'kept': ['own', 'first'],
    }
    for name, allowed in choices.items():
      if getattr(self, name) not in allowed:
        raise ValueError(
          f'{name}={getattr(self, name)!r} is not one of {allowed}.'
        )


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
    params = params | {'first': params['last']}
  if identical and encoder.depth > 2:
    params = params | {
      'blocks': jax.tree.map(
        lambda x: jnp.broadcast_to(x, (encoder.depth - 2, *x.shape)),
        params['last'],
      )
    }
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


def embed_augmented(
  encoder, params, pixels, keep, key, kind='none', per_sample=False
):
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
    key_drops,
    kind,
    len(pixels),
    num_bands=encoder.num_bands,
    per_sample=per_sample,
  )
  left = keep & drops.months
  left = jnp.where(left.any(axis=1, keepdims=True), left, keep)
  pixels = jnp.where(drops.bands[:, None, :, None, None], pixels, 0)
  return encoder.apply(
    {'params': params},
    pixels,
    left,
    median=drops.median if kind == 'tsmixaug' else None,
    train=True,
    rngs={'dropout': key_dropout},
  )
