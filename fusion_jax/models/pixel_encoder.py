"""TimeSenCLIP's satellite encoder: one pixel's year as a vector for CLIP.

A post-norm transformer over a class token and one token per month. Source:
TimeSenCLIP `src/models/encoder.py` (commit a48994f).
Differs from the paper: ReLU, as in all released code, not GELU.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.models import pixel_sequence
from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, dropping
from fusion_jax.types import Array, Key, Params

_BROADCAST: Any = nn.broadcast  # Flax declares `in_axes` as an int.
# Tokens [B, T + 1, D] as a product: features [B, T + 1, F] and rows [F, D].
Factors = tuple[jax.Array, jax.Array]


class PixelEncoder(nn.Module):
  """A time series of k x k pixels [B, T, C, k, k] as a vector [B, E].

  The sequence has one length; a month that does not exist is masked as a key,
  which changes the output no more than removing the month would. Only the
  class token is read at the end, so the last layer computes no other token.

  Whatever `factored_first_layer` is, the parameters of the layers are 'first',
  'blocks' (stacked) and 'last'.

  Attributes:
    width: D, width of the tokens.
    depth: L, number of layers.
    num_heads: number of attention heads; must divide the width.
    hidden: width of the hidden layer of the MLPs; the paper's 256 is less.
    output_width: E, width of CLIP's joint space.
    num_bands: C, number of spectral bands.
    side: k, pixels per side; 1, 5 or 9 in the paper.
    activation: 'relu', or 'gelu' (exact), which the paper names.
    dropout: dropout rate of the layers during training.
    single: position of an only time step that is no month: 'mean' of the
      twelve months, or 'first', that of January, as the newest public code has
      it by accident. Where one month of several is kept, it is always the mean.
    kept: 'own' gives every kept month its own position, 'first' gives the kept
      months the first positions, as the oldest public code.
    dtype: data type of the computation; parameters are float32.
    unroll: layers per iteration of the loop over layers; more layers compile
      longer.
    factored_first_layer: whether the first layer computes its attention with
      the few numbers that a time step is made of, in place of the tokens, where
      these are fewer than a head is wide. Outputs and gradients are the same
      up to rounding; dropout draws its random numbers in another order.
      `assembly.pixel_encoder` decides which one a backend gets.
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
  dtype: DTypeLike = jnp.float32
  unroll: int = 1
  factored_first_layer: bool = False

  def setup(self) -> None:
    """Makes the submodules and parameters."""
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
    self,
    pixels: Array,
    keep: Array | None = None,
    *,
    months: Array | None = None,
    median: Array | None = None,
    train: bool = False,
  ) -> jax.Array:
    """Encodes time series.

    Args:
      pixels: [B, T, C, k, k] float, reflectance normalised to [0, 1], bands B2
        to B12 in order. Time steps that are not kept may hold any value, NaN
        included.
      keep: bool [B or 1, T], the time steps that exist. None: all of them.
      months: [B or 1, T] months as fractions, 0 = middle of January; see
        `calendar.months_of_days`. Positions in between are interpolated
        linearly, also from December to January; whole numbers are the twelve
        months. None: T is 12 (months), 4 (quarters, medians of their
        positions) or 1.
      median: bool [B or 1], True where all kept tokens are replaced by one,
        their lower median. None: nowhere.
      train: whether to apply dropout; needs the random stream 'dropout'.

    Returns:
      [B, E], not normalised.

    Raises:
      ValueError: see `pixel_sequence.check`.
    """
    (tokens, visible), factors = self._sequence(pixels, keep, months, median)
    tokens, _ = self._all_but_last(tokens, visible, factors, train)
    token = self.last(tokens, visible, train, first_only=True)[:, 0]
    return self.head(self.norm(token))

  def sequence(
    self,
    pixels: Array,
    keep: Array | None = None,
    months: Array | None = None,
    median: Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the input of the first layer; arguments are those of `__call__`.

    Returns:
      Tokens [B, T + 1, D], the class token first; and bool
      [B or 1, 1, 1, T + 1], True where a token exists.
    """
    return self._sequence(pixels, keep, months, median)[0]

  def layers(
    self,
    pixels: Array,
    keep: Array | None = None,
    *,
    months: Array | None = None,
    median: Array | None = None,
  ) -> jax.Array:
    """Returns every token after every layer, [L, B, T + 1, D].

    Arguments are those of `__call__`.
    """
    (tokens, visible), factors = self._sequence(pixels, keep, months, median)
    tokens, outputs = self._all_but_last(tokens, visible, factors, False)
    return jnp.stack([*outputs, self.last(tokens, visible, False)])

  def is_factored(self, num_features: int) -> bool:
    """Returns whether the first layer computes with features, not with tokens.

    Args:
      num_features: F, the numbers that a token is made of: 24 for twelve
        single pixels, where a head of the paper's size is 64 wide.
    """
    head_width = self.width // self.num_heads
    return self.factored_first_layer and num_features < head_width

  def _sequence(
    self,
    pixels: Array,
    keep: Array | None,
    months: Array | None,
    median: Array | None,
  ) -> tuple[tuple[jax.Array, jax.Array], Factors | None]:
    """`sequence`, and the factors of its tokens for a factored layer."""
    pixel_sequence.check(pixels, (self.num_bands, self.side, self.side), months)
    batch, steps = pixels.shape[:2]
    keep = jnp.ones((1, steps), bool) if keep is None else keep
    pixels = jnp.where(keep[:, :, None, None, None], pixels, 0)
    pixels = pixels.reshape(batch, steps, -1)
    features, rows = pixel_sequence.features_and_rows(
      pixels,
      pixel_sequence.position_weights(
        self.positions, keep, months, single=self.single, kept=self.kept
      ),
      self.embed.weights(pixels.shape[-1]),
      self.class_token,
      self.dtype,
    )
    tokens = features.reshape(-1, len(rows)) @ rows
    tokens = tokens.reshape(batch, steps + 1, self.width)
    factored = median is None and self.is_factored(len(rows))
    factors = (features, rows) if factored else None
    if median is not None:
      tokens, keep = pixel_sequence.replace_by_median(
        tokens, self.embed(pixels), self.positions, keep, median
      )
    visible = jnp.concatenate([jnp.ones((len(keep), 1), bool), keep], axis=1)
    return (tokens, visible[:, None, None, :]), factors

  def _all_but_last(
    self,
    tokens: jax.Array,
    visible: jax.Array,
    factors: Factors | None,
    train: bool,
  ) -> tuple[jax.Array, list[jax.Array]]:
    """Tokens after all layers but the last, and a list of those of each."""
    if self.depth == 1:
      return tokens, []
    first = self.first(tokens, visible, train, factors=factors)
    if self.depth == 2:
      return first, [first]

    def body(block, tokens, visible):
      tokens = block(tokens, visible, train)
      return tokens, tokens

    tokens, outputs = nn.scan(
      body,
      variable_axes={'params': 0},
      split_rngs={'params': True, 'dropout': True},
      in_axes=_BROADCAST,
      length=self.depth - 2,
      unroll=min(self.unroll, self.depth - 2),
    )(self.blocks, first, visible)
    return tokens, [first, *outputs]

  def _check(self) -> None:
    """Raises ValueError for attributes that no encoder can have."""
    if self.depth < 1 or self.width % self.num_heads:
      raise ValueError(
        f'depth={self.depth}, width={self.width}, num_heads={self.num_heads}:'
        ' there must be a layer, and the heads must divide the width.'
      )
    for name, value, choices in (
      ('activation', self.activation, sorted(post_norm.ACTIVATIONS)),
      ('single', self.single, list(pixel_sequence.SINGLE)),
      ('kept', self.kept, list(pixel_sequence.KEPT)),
    ):
      if value not in choices:
        raise ValueError(f'{name}={value!r} is not one of {choices}.')


def init(encoder: PixelEncoder, key: Key, identical: bool = False) -> Params:
  """Returns fresh parameters of an encoder.

  Args:
    encoder: the encoder.
    key: random key of the initial values.
    identical: whether all layers start with equal values, as those of torch's
      `nn.TransformerEncoder`, which copies one layer. Layers that are drawn
      independently are our choice.
  """
  shape = (1, calendar.MONTHS, encoder.num_bands, encoder.side, encoder.side)
  params = dict(encoder.init(key, jnp.zeros(shape))['params'])
  if identical and encoder.depth > 1:
    params['first'] = params['last']
  if identical and encoder.depth > 2:
    params['blocks'] = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (encoder.depth - 2, *x.shape)),
      params['last'],
    )
  return params


def embed(
  encoder: PixelEncoder,
  params: Params,
  pixels: Array,
  keep: Array,
  setting: str = 'monthly',
) -> jax.Array:
  """Returns vectors [B, E] of years of months, not normalised.

  Args:
    encoder: the encoder.
    params: its parameters.
    pixels: [B, 12, C, k, k] in [0, 1], finite.
    keep: bool [B, 12], the months that exist.
    setting: 'monthly', 'quarterly' or 'single', see `calendar.summarise`.
  """
  pixels, keep = calendar.summarise(pixels, keep, setting)
  return cast(jax.Array, encoder.apply({'params': params}, pixels, keep))


def embed_augmented(
  encoder: PixelEncoder,
  params: Params,
  pixels: Array,
  keep: Array,
  key: Key,
  kind: str = 'none',
  per_sample: bool = False,
) -> jax.Array:
  """Returns vectors [B, E] for training: with augmentation and dropout.

  A sample of which the augmentation would leave no month keeps all its months.

  Args:
    encoder: the encoder.
    params: its parameters.
    pixels: [B, 12, C, k, k] in [0, 1], finite.
    keep: bool [B, 12], the months that exist.
    key: random key of augmentation and dropout.
    kind: kind of augmentation, one of `dropping.KINDS`.
    per_sample: whether every sample has its own draw, see `dropping.draw`.
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
  vectors = encoder.apply(
    {'params': params},
    pixels,
    left,
    median=drops.median if kind == 'tsmixaug' else None,
    train=True,
    rngs={'dropout': key_dropout},
  )
  return cast(jax.Array, vectors)
