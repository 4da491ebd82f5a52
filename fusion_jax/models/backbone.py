"""The masked encoder-decoder over slots of images, codes and weather.

Source: TerraMind (terrastackai/terratorch, commit 85467a9, `terramind.py`),
derived from 4M `fourm/models/fm.py`. Instead of masking full grids it takes
slots that are chosen on the host: outputs are equal, and hidden tokens are not
computed.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax import modalities as modality_table
from fusion_jax.models import visibility
from fusion_jax.models.decode_cache import DecodeCache
from fusion_jax.nn import blocks, embeddings, layers, positions
from fusion_jax.ops import losses
from fusion_jax.types import Array, Batch, Params

# What `encode` returns: tokens, their embeddings, and which tokens exist.
Encoded = tuple[jax.Array, jax.Array, jax.Array]
_ENDLESS = 2**30  # Grids of any size keep their positions.


class Backbone(nn.Module):
  """Masked encoder-decoder with content, position and modality embeddings.

  Attributes:
    modalities: modalities, sorted by name; the modality of a slot is an index
      into them.
    width: D, width of the tokens.
    encoder_depth: number of layers of the encoder.
    decoder_depth: number of layers of the decoder.
    num_heads: number of attention heads; must divide D.
    mlp: kind of MLP, 'gelu' or 'swiglu'.
    use_bias: whether attention and MLPs have biases (norms never have).
    dtype: data type of the computation; parameters, softmax and statistics of
      norms are float32.
    image_size: pixels per side of the images that the position table was made
      for.
    grid: (rows, columns) of patches of the images that are used; () for those
      of `image_size`. For other grids the table is resized.
    unroll: layers per iteration of the loop over layers.
    remat: whether training computes every layer once more for its gradient and
      keeps only the layer's input: less memory, more time.
    causal: whether decoder tokens see only themselves and earlier tokens.
    separate: whether decoder tokens see only tokens of their modality.
  """

  modalities: tuple[modality_table.Modality, ...]
  width: int
  encoder_depth: int
  decoder_depth: int
  num_heads: int
  mlp: str = 'swiglu'
  use_bias: bool = False
  dtype: DTypeLike = jnp.float32
  image_size: int = 224
  grid: tuple[int, int] | tuple[()] = ()
  unroll: int = 1
  remat: bool = False
  causal: bool = False
  separate: bool = True

  def __post_init__(self) -> None:
    super().__post_init__()
    blocks.check_sizes(self.width, self.num_heads, self.mlp)
    names = [m.name for m in self.modalities]
    if names != sorted(set(names)):
      raise ValueError(
        f'Modalities must be sorted by name, each once; got {names}. '
        '`modalities.select` sorts them.'
      )

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    block = (self.width, self.num_heads, self.mlp, self.use_bias, self.dtype)
    embedding = (self.modalities, self.width, self.dtype)
    self.encoder_embeddings = embeddings.EncoderEmbeddings(*embedding)
    self.decoder_embeddings = embeddings.DecoderEmbeddings(*embedding)
    self.modality_embeddings = embeddings.ModalityEmbeddings(*embedding)
    self.mask_token = self.param(
      'mask_token', nn.initializers.normal(0.02), (self.width,)
    )
    self.encoder = blocks.Stack(
      blocks.EncoderBlock(*block), self.encoder_depth, self.unroll, self.remat
    )
    self.encoder_norm = layers.layer_norm(self.dtype)
    self.project_context = layers.Linear(self.width, True, dtype=self.dtype)
    self.decoder = blocks.Stack(
      blocks.DecoderBlock(*block), self.decoder_depth, self.unroll, self.remat
    )
    self.decoder_norm = layers.layer_norm(self.dtype)

  @property
  def heads(self) -> tuple[losses.Head, ...]:
    """The heads of all modalities that can be predicted, in their order."""
    return tuple(
      losses.Head(m.name, i, m.vocab_size, *_value_range(m))
      for i, m in enumerate(self.modalities)
      if m.is_target
    )

  def output_tables(self, params: Params) -> Mapping[str, Array]:
    """Returns the tables [V, D] that score the decoder's output, by modality.

    Args:
      params: parameters of the backbone.
    """
    return params['decoder_embeddings']

  def __call__(self, batch: Batch) -> jax.Array:
    """Returns the output of every decoder slot, [B, M, D].

    Args:
      batch: 'encoder', slots as in `encode`, and 'decoder', slots as in
        `decode`. The output of padding may have any value.
    """
    return self.decode(*self.encode(batch['encoder']), batch['decoder'])

  def encode(self, slots: Batch) -> Encoded:
    """Runs the encoder on its slots.

    Args:
      slots: 'modality', 'position', 'code' int [B, N]; and 'patches', for every
        raw modality [B, N, 256 C] float, standardised, in the order (row,
        column, channel), 0 in slots of other modalities.

    Returns:
      [B, N, D], the normalised tokens; [B, N, D], the sum of their position and
      modality vectors; bool [B, N], True where a slot is not padding.
    """
    return self.encode_embedded(*self.embed_inputs(slots))

  def embed_inputs(self, slots: Batch) -> Encoded:
    """Embeds slots of the encoder, before its layers.

    Args:
      slots: slots as `encode` takes them; 'patches' may lack raw modalities
        that have no slot here.

    Returns:
      [B, N, D], the content; and the last two arrays that `encode` returns.
    """
    emb, visible = self._embed_places(slots)
    return self.encoder_embeddings(slots), emb, visible

  def encode_embedded(self, *embedded: jax.Array) -> Encoded:
    """Runs the encoder's layers.

    Args:
      *embedded: the three arrays [B, N, ...] that `embed_inputs` returns.

    Returns:
      What `encode` returns.
    """
    content, emb, visible = embedded
    tokens = self.encoder(content + emb, visible[:, None, None, :])
    return self.encoder_norm(tokens), emb, visible

  def decode(
    self,
    encoded: jax.Array,
    emb: jax.Array,
    visible: jax.Array,
    slots: Batch,
  ) -> jax.Array:
    """Runs the decoder on its slots.

    Args:
      encoded: [B, N, D], tokens that `encode` returned.
      emb: [B, N, D], their embeddings that `encode` returned.
      visible: bool [B, N], True where a slot of the encoder is not padding.
      slots: 'modality', 'position', 'code', 'attention' int [B, M];
        'attention' is the compressed mask, see `visibility`.

    Returns:
      [B, M, D], normalised.
    """
    tokens = self._embed_targets(slots)
    attends = visibility.decoder_mask(
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

  def start_decoding(
    self,
    encoded: jax.Array,
    emb: jax.Array,
    visible: jax.Array,
    max_length: int,
    num_samples: int = 1,
  ) -> DecodeCache:
    """Returns a cache for decoding tokens one after the other.

    Args:
      encoded: [B, N, D], tokens that `encode` returned.
      emb: [B, N, D], their embeddings that `encode` returned.
      visible: bool [B, N], True where a slot is not padding.
      max_length: T, largest number of tokens that will be decoded.
      num_samples: S, number of sequences per example. Those of one example
        follow each other, so that `decode_step` takes B * S codes.
    """
    context = self.project_context(encoded) + emb
    stacked = self.decoder.variables['params']['blocks']
    weights = tuple(
      jax.tree.map(lambda leaf, i=i: leaf[i], stacked)
      for i in range(self.decoder_depth)
    )
    apply: Any = self._decoder_block().apply
    pairs = tuple(
      apply({'params': layer}, context, method='keys_values')
      for layer in weights
    )
    shape = (
      encoded.shape[0] * num_samples,
      self.num_heads,
      max_length,
      self.width // self.num_heads,
    )
    empty = tuple(jnp.zeros(shape, self.dtype) for _ in weights)
    return DecodeCache(empty, empty, pairs, visible, weights, jnp.int32(0))

  def decode_step(
    self, cache: DecodeCache, code: Array, position: Array, modality: Array
  ) -> tuple[jax.Array, DecodeCache]:
    """Decodes one more token, which sees itself and all earlier tokens.

    Args:
      cache: cache that `start_decoding` or the step before returned.
      code: int [B], the input code (not used for images).
      position: int scalar or [B], position of the token.
      modality: int scalar or [B], index into `modalities`.

    Returns:
      [B, D], the output that `decode` has for such a slot; and the new cache.
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

  def _embed_targets(self, slots: Batch) -> jax.Array:
    """Input tokens [B, M, D] of the decoder.

    Positions of sequences start at 0 again after their longest length.
    """
    longest = jnp.asarray(
      [m.max_tokens if m.is_sequence else _ENDLESS for m in self.modalities]
    )
    position = jnp.where(
      slots['position'] < longest[slots['modality']], slots['position'], 0
    )
    emb, _ = self._embed_places({**slots, 'position': position})
    return self.decoder_embeddings(slots, self.mask_token) + emb

  def _embed_places(self, slots: Batch) -> tuple[jax.Array, jax.Array]:
    """Sums [B, N, D] of position and modality vectors, and bool [B, N].

    Vectors are 0 in padding; the second array is True outside of padding.
    """
    built = self.image_size // modality_table.PATCH
    table = positions.resized_grid_table(
      built, self.grid or (built, built), self.width
    )
    visible = slots['modality'] >= 0
    emb = embeddings.position_vectors(slots, self.modalities, table)
    emb = jnp.where(visible[..., None], emb, 0).astype(self.dtype)
    return emb + self.modality_embeddings(slots['modality']), visible

  def _decoder_block(self) -> blocks.DecoderBlock:
    return blocks.DecoderBlock(
      self.width,
      self.num_heads,
      self.mlp,
      self.use_bias,
      self.dtype,
      parent=None,
    )


def param_shapes(model: Backbone) -> Params:
  """Returns the shapes of a backbone's parameters, without making arrays."""
  slots = {
    name: jnp.zeros((1, 1), jnp.int32)
    for name in ('modality', 'position', 'code', 'attention')
  }
  patches = {
    m.name: jnp.zeros((1, 1, modality_table.PATCH**2 * len(m.bands)))
    for m in model.modalities
    if m.kind == 'image'
  }
  batch = {'encoder': {**slots, 'patches': patches}, 'decoder': slots}
  return jax.eval_shape(model.init, jax.random.key(0), batch)['params']


def _value_range(modality: modality_table.Modality) -> tuple[int, int]:
  """First id and number of ordered value bins, (0, 0) of all but weather."""
  if modality.kind != 'series' or not modality.ordered:
    return 0, 0
  first = modality_table.VALUE_OFFSET
  return first, max(0, modality.vocab_size - first)
