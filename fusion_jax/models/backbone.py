"""The masked encoder-decoder over slots of images, codes and weather.

Source: TerraMind (terrastackai/terratorch, commit 85467a9, `terramind.py`),
derived from 4M `fourm/models/fm.py`. Instead of masking full grids it takes
slots, chosen on the host: numerically the same, without the hidden tokens.
"""

from typing import Any

import flax
import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax import modalities as modality_table
from fusion_jax.nn import embeddings, layers, positions
from fusion_jax.ops import losses


class DecodeCache(flax.struct.PyTreeNode):
  """What autoregressive decoding carries from token to token.

  Attributes:
    keys: a layer each, [B, H, T, K]: of the decoder's own tokens.
    values: likewise.
    context: a layer each, [2, B, H, N, K]: keys and values of the context.
    visible: bool [B, N], which part of the context exists.
    weights: a layer each, its parameters: sliced once, not at every token.
    length: int32, the number of tokens decoded so far.
  """

  keys: Any
  values: Any
  context: Any
  visible: jax.Array
  weights: Any
  length: jax.Array


class Backbone(nn.Module):
  """Masked encoder-decoder with content, position and modality embeddings.

  Attributes:
    modalities: sorted by name; a slot's modality is an index into it.
    width: D.
    encoder_depth: layers of the encoder.
    decoder_depth: layers of the decoder.
    num_heads: must divide D.
    mlp: 'gelu' or 'swiglu'.
    use_bias: whether attention and MLPs have biases (norms never have).
    dtype: of the computation; parameters, softmax and norm statistics are
      float32.
    image_size: pixels a side of the images that the positions were made for.
    grid: (rows, columns) of patches of the images at hand; () for those of
      `image_size`. Other grids get the table resized.
    unroll: layers a loop iteration.
    causal: whether decoder tokens see only themselves and earlier ones.
    separate: whether decoder tokens see only tokens of their modality.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  encoder_depth: int
  decoder_depth: int
  num_heads: int
  mlp: str = 'swiglu'
  use_bias: bool = False
  dtype: Any = jnp.float32
  image_size: int = 224
  grid: tuple[int, ...] = ()
  unroll: int = 1
  causal: bool = False
  separate: bool = True

  def __post_init__(self):
    super().__post_init__()
    check(self.width, self.num_heads, self.mlp)
    names = [m.name for m in self.modalities]
    if names != sorted(set(names)):
      raise ValueError(
        f'Modalities must be sorted by name, each once; got {names}. '
        '`modalities.select` sorts them.'
      )

  def setup(self):
    block = (self.width, self.num_heads, self.mlp, self.use_bias, self.dtype)
    embedding = (self.modalities, self.width, self.dtype)
    self.encoder_embeddings = embeddings.EncoderEmbeddings(*embedding)
    self.decoder_embeddings = embeddings.DecoderEmbeddings(*embedding)
    self.modality_embeddings = embeddings.ModalityEmbeddings(*embedding)
    self.mask_token = self.param(
      'mask_token', nn.initializers.normal(0.02), (self.width,)
    )
    self.encoder = layers.Stack(
      layers.EncoderBlock(*block), self.encoder_depth, self.unroll
    )
    self.encoder_norm = layers.layer_norm(self.dtype)
    self.project_context = layers.Linear(self.width, True, dtype=self.dtype)
    self.decoder = layers.Stack(
      layers.DecoderBlock(*block), self.decoder_depth, self.unroll
    )
    self.decoder_norm = layers.layer_norm(self.dtype)

  @property
  def heads(self):
    """`losses.Head` of every modality that can be predicted, in order."""
    return tuple(
      losses.Head(m.name, i, m.vocab_size, *_value_range(m))
      for i, m in enumerate(self.modalities)
      if m.is_target
    )

  def output_tables(self, params):
    """Tables [V, D] that score the decoder's output, by modality name."""
    return params['decoder_embeddings']

  def __call__(self, batch):
    """Output of every decoder slot, [B, M, D]; any value in padding."""
    return self.decode(*self.encode(batch['encoder']), batch['decoder'])

  def encode(self, slots):
    """Runs the encoder over its slots.

    Args:
      slots: 'modality', 'position', 'code' int [B, N]; 'patches', for every
        raw modality [B, N, 256 C] float, standardised, (row, column, channel)
        in a patch, 0 in slots of other modalities.

    Returns:
      [B, N, D] normalised tokens; [B, N, D] their position and modality
      vectors; bool [B, N], True where a slot is not padding.
    """
    emb, visible = self._embed_places(slots)
    content = self.encoder_embeddings(slots)
    tokens = self.encoder(content + emb, visible[:, None, None, :])
    return self.encoder_norm(tokens), emb, visible

  def decode(self, encoded, emb, visible, slots):
    """Runs the decoder over its slots.

    Args:
      encoded: [B, N, D], emb: [B, N, D], visible: [B, N], all of `encode`.
      slots: 'modality', 'position', 'code', 'attention' int [B, M];
        'attention' is the compressed mask, see `decoder_mask`.

    Returns:
      [B, M, D], normalised.
    """
    tokens = self._embed_targets(slots)
    attends = decoder_mask(
      slots['modality'],
      slots['attention'],
      causal=self.causal,
      separate=self.separate,
    )
    tokens = self.decoder(
      tokens,
      self.project_context(encoded) + emb,
      attends[:, None],
      visible[:, None, None, :],
    )
    return self.decoder_norm(tokens)

  def start_decoding(self, encoded, emb, visible, max_length, num_samples=1):
    """A cache for decoding `max_length` tokens, one after the other.

    Args:
      encoded: [B, N, D], emb: [B, N, D], visible: [B, N], all of `encode`.
      max_length: T, the most tokens there will be.
      num_samples: S, sequences a condition; they stand in a row, so that
        `decode_step` takes B * S codes.
    """
    context = self.project_context(encoded) + emb
    stacked = self.decoder.variables['params']['blocks']
    weights = tuple(
      jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
      for i in range(self.decoder_depth)
    )
    block = self._decoder_block()
    context = tuple(
      block.apply({'params': layer}, context, method='keys_values')
      for layer in weights
    )
    shape = (
      encoded.shape[0] * num_samples,
      self.num_heads,
      max_length,
      self.width // self.num_heads,
    )
    empty = tuple(jnp.zeros(shape, self.dtype) for _ in weights)
    return DecodeCache(empty, empty, context, visible, weights, jnp.int32(0))

  def decode_step(self, cache, code, position, modality):
    """Decodes one more token, which sees itself and all earlier ones.

    Args:
      cache: of `start_decoding` or of the step before.
      code: int [B], the input code (not used for images).
      position: int scalar or [B].
      modality: int scalar or [B], index into `modalities`.

    Returns:
      [B, D], as one slot of `decode`; and the new cache.
    """
    slots = {'modality': modality, 'position': position, 'code': code}
    slots = {
      key: jnp.broadcast_to(value, code.shape)[:, None]
      for key, value in slots.items()
    }
    token = self._embed_targets(slots)
    block, visible = self._decoder_block(), cache.visible[:, None, None, :]
    filled = []
    for layer, keys, values, context in zip(
      cache.weights, cache.keys, cache.values, cache.context
    ):
      token, pair = block.apply(
        {'params': layer},
        token,
        (keys, values),
        context,
        visible,
        cache.length,
        method='step',
      )
      filled.append(pair)
    keys, values = zip(*filled)
    cache = cache.replace(keys=keys, values=values, length=cache.length + 1)
    return self.decoder_norm(token)[:, 0], cache

  def _embed_targets(self, slots):
    """Input tokens of the decoder; sequences start over after their length."""
    longest = jnp.asarray([m.max_tokens for m in self.modalities])
    position = jnp.where(
      slots['position'] < longest[slots['modality']], slots['position'], 0
    )
    emb, _ = self._embed_places(slots | {'position': position})
    return self.decoder_embeddings(slots, self.mask_token) + emb

  def _embed_places(self, slots):
    """Position plus modality vectors, 0 in padding; and what is not padding."""
    built = self.image_size // modality_table.PATCH
    table = positions.resized_grid_table(
      built, self.grid or (built, built), self.width
    )
    visible = slots['modality'] >= 0
    emb = embeddings.position_vectors(slots, self.modalities, table)
    emb = jnp.where(visible[..., None], emb, 0).astype(self.dtype)
    return emb + self.modality_embeddings(slots['modality']), visible

  def _decoder_block(self):
    return layers.DecoderBlock(
      self.width,
      self.num_heads,
      self.mlp,
      self.use_bias,
      self.dtype,
      parent=None,
    )


def param_shapes(model):
  """Nested dict of the shapes of a `Backbone`'s parameters; makes no array."""
  slots = {
    name: jnp.zeros((1, 1), jnp.int32)
    for name in ('modality', 'position', 'code', 'attention')
  }
  patches = {
    m.name: jnp.zeros((1, 1, modality_table.PATCH**2 * len(m.bands)))
    for m in model.modalities
    if m.kind == 'image'
  }
  batch = {'encoder': slots | {'patches': patches}, 'decoder': slots}
  return jax.eval_shape(model.init, jax.random.key(0), batch)['params']


def check(width, num_heads, mlp):
  """Raises ValueError for sizes that do not fit together."""
  if width % num_heads:
    raise ValueError(f'width={width} does not divide by num_heads={num_heads}.')
  if width % 4:
    raise ValueError(
      f'width={width} must be divisible by 4: half of the '
      'position vector is for rows, half for columns.'
    )
  if mlp not in layers.MLPS:
    raise ValueError(f'mlp={mlp!r} is none of {sorted(layers.MLPS)}.')


def decoder_mask(modality, attention, *, causal, separate):
  """Which decoder slot may look at which, bool [B, M, M].

  Slot i sees the slots before c_i, the sum of `attention` up to and with i:
  images put the number of their targets on the first, so that all see all;
  sequences put 1 on each, which is causal.

  Args:
    modality: int [B, M].
    attention: int [B, M].
    causal: whether to see up to itself instead.
    separate: whether to see only slots of the same modality.
  """
  num_slots = modality.shape[1]
  slot = jnp.arange(num_slots)
  limit = jnp.cumsum(attention, axis=1)
  if causal:
    limit = jnp.broadcast_to(slot + 1, attention.shape)
  attends = slot[None, None, :] < limit[:, :, None]
  if separate:
    attends &= modality[:, :, None] == modality[:, None, :]
  return attends


def _value_range(modality):
  """First id and number of ordered value bins; only weather has some."""
  if modality.kind != 'series' or not modality.ordered:
    return 0, 0
  first = modality_table.VALUE_OFFSET
  return first, max(0, modality.vocab_size - first)
