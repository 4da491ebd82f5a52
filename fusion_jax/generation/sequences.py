"""Generation of sequences, one token after the other, with a KV cache.

Source: 4M `fourm/generation/sequences.py` as TerraMind uses it. Differs from
it: keys and values are cached, where 4M runs the whole prefix again for every
token; and a weather series has exactly its lead times, where 4M lets it end
anywhere.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp

from fusion_jax import modalities as modality_table
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.models.decode_cache import DecodeCache
from fusion_jax.ops import decoding
from fusion_jax.types import Array, Batch, Key, Params

FIRST = modality_table.FIRST_SENTINEL + 1  # Code of [S_1], before the sequence.
STOP = FIRST + 1  # Code of [S_2], which ends it.

# Step, cache, last codes [R], which rows have stopped bool [R], codes [R, T].
_Carry = tuple[jax.Array, DecodeCache, jax.Array, jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How codes are drawn; see `decoding.sample`.

  Attributes:
    temperature: temperature of the distribution; about 0 is greedy.
    top_k: number of most likely codes to draw from, or their fraction of all
      codes; 0 draws from all.
    top_p: probability mass of the most likely codes to draw from; 0 draws from
      all.
  """

  temperature: float = 1.0
  top_k: int | float = 0
  top_p: float = 0.0


GREEDY = Sampling(temperature=0.0)


@dataclasses.dataclass(frozen=True)
class Target:
  """The kind of sequence that is decoded.

  Attributes:
    index: index of its modality into `Backbone.modalities`.
    length: T, largest number of codes.
    stops: whether a sequence ends with [S_2]; False if it always has T codes.
    allowed: bool [V], True for codes that may be drawn. None: all of them.
  """

  index: int
  length: int
  stops: bool = False
  allowed: Array | None = None


def series(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  key: Key,
  target: str,
  *,
  num_samples: int = 1,
  sampling: Sampling = Sampling(),
) -> jax.Array:
  """Draws whole weather series, value by value.

  Only codes of values are drawn (and [ZERO] for precipitation), no special
  codes, and a series has as many codes as lead times.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots of the encoder, see `Backbone.encode`.
    key: random key of all draws; or [B] keys, one per example, whose draws then
      do not depend on the rest of the batch.
    target: name of the series modality.
    num_samples: S, number of series per example.
    sampling: how codes are drawn.

  Returns:
    [B, S, T] int32 codes.

  Raises:
    ValueError: if the model has no such series.
  """
  index, modality = _find(backbone, target, 'series')
  codes = decode(
    backbone,
    params,
    slots,
    key,
    Target(index, len(modality.leads), allowed=series_codes(modality)),
    num_samples=num_samples,
    sampling=sampling,
  )
  return codes.reshape(-1, num_samples, codes.shape[-1])


def text(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  key: Key,
  target: str = 'coords',
  *,
  num_samples: int = 1,
  sampling: Sampling = Sampling(),
) -> jax.Array:
  """Draws sequences of words such as places, until each has stopped.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots of the encoder, see `Backbone.encode`.
    key: random key of all draws, or [B] keys; see `series`.
    target: name of the text modality.
    num_samples: S, number of sequences per example.
    sampling: how codes are drawn.

  Returns:
    [B, S, max_tokens] int32: codes of `run_of_first_sentinel`, then [PAD].

  Raises:
    ValueError: if the model has no such text.
  """
  index, modality = _find(backbone, target, 'text')
  codes = decode(
    backbone,
    params,
    slots,
    key,
    Target(index, modality.max_tokens, stops=True),
    num_samples=num_samples,
    sampling=sampling,
  )
  codes, _ = run_of_first_sentinel(codes)
  return codes.reshape(-1, num_samples, codes.shape[-1])


def series_codes(modality: modality_table.Modality) -> jax.Array:
  """Returns which codes a generated series may have, bool [V]."""
  code = jnp.arange(modality.vocab_size)
  is_value = code >= modality_table.VALUE_OFFSET
  if modality.bands == ('tp',) and modality.ordered:
    is_value |= code == modality_table.ZERO
  return is_value


def run_of_first_sentinel(
  codes: jax.Array, num_sentinels: int = modality_table.NUM_SENTINELS
) -> tuple[jax.Array, jax.Array]:
  """Returns what a prediction puts in place of the input's [S_1].

  That is the run after the last [S_1] (`codes` do not contain the one that
  decoding starts with), up to the next sentinel of any kind.

  Args:
    codes: int [..., T], decoded codes.
    num_sentinels: number of sentinels of the vocabulary.

  Returns:
    int [..., T], codes of the run, then [PAD]; and int [...], its length.
  """
  length = codes.shape[-1]
  index = jnp.broadcast_to(jnp.arange(length), codes.shape)
  start = jnp.where(codes == FIRST, index + 1, 0).max(axis=-1, keepdims=True)
  first = modality_table.FIRST_SENTINEL
  sentinel = (codes >= first) & (codes < first + num_sentinels)
  stop = jnp.where(sentinel & (index >= start), index, length).min(
    axis=-1, keepdims=True
  )
  moved = jnp.take_along_axis(codes, (index + start) % length, axis=-1)
  run = jnp.where(index < stop - start, moved, modality_table.PAD)
  return run, (stop - start)[..., 0]


def decode(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  key: Key,
  target: Target,
  *,
  num_samples: int = 1,
  sampling: Sampling = Sampling(),
) -> jax.Array:
  """Draws the codes that follow [S_1], in one compiled loop.

  If sequences stop, the loop ends as soon as every one has drawn [S_2].

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots of the encoder, see `Backbone.encode`.
    key: random key of all draws, or [B] keys; see `series`.
    target: what to decode.
    num_samples: S, number of sequences per example.
    sampling: how codes are drawn.

  Returns:
    [B * S, T] int32; [PAD] where nothing was decoded.
  """
  variables = {'params': params}
  encoded: Any = backbone.apply(variables, slots, method='encode')
  cache: Any = backbone.apply(
    variables, *encoded, target.length, num_samples, method='start_decoding'
  )
  keys = _keys(key, encoded[0].shape[0], num_samples)
  rows = len(keys)

  def is_unfinished(carry: _Carry) -> jax.Array:
    step, _, _, stopped, _ = carry
    if not target.stops:  # Without communication between devices.
      return step < target.length
    return (step < target.length) & ~stopped.all()

  start = (
    jnp.int32(0),
    cache,
    jnp.full(rows, FIRST, jnp.int32),
    jnp.zeros(rows, bool),
    jnp.full((rows, target.length), modality_table.PAD, jnp.int32),
  )
  step = _decoding_step(backbone, params, keys, target, sampling)
  return jax.lax.while_loop(is_unfinished, step, start)[-1]


def _decoding_step(
  backbone: backbone_lib.Backbone,
  params: Params,
  keys: Key,
  target: Target,
  sampling: Sampling,
) -> Callable[[_Carry], _Carry]:
  """Returns the function that decodes one more code of every row.

  Args:
    backbone: the model.
    params: its parameters.
    keys: [R] random keys, one per row.
    target: what is decoded.
    sampling: how codes are drawn.
  """
  name = backbone.modalities[target.index].name
  table = backbone.output_tables(params)[name]

  def draw(key: Key, logits: jax.Array, step: jax.Array) -> jax.Array:
    return decoding.sample(
      jax.random.fold_in(key, step),
      logits,
      sampling.temperature,
      sampling.top_k,
      sampling.top_p,
      target.allowed,
    )

  def decode_one(carry: _Carry) -> _Carry:
    step, cache, code, stopped, codes = carry
    token, cache = cast(
      tuple[jax.Array, DecodeCache],
      backbone.apply(
        {'params': params},
        cache,
        code,
        step,
        jnp.int32(target.index),
        method='decode_step',
      ),
    )
    logits = jnp.matmul(
      token, table.T.astype(token.dtype), preferred_element_type=jnp.float32
    )
    code = jax.vmap(draw, in_axes=(0, 0, None))(keys, logits, step)
    if target.stops:
      code = jnp.where(stopped, modality_table.PAD, code)
      stopped |= code == STOP
    codes = jax.lax.dynamic_update_slice_in_dim(
      codes, code[:, None], step, axis=1
    )
    return step + 1, cache, code, stopped, codes

  return decode_one


def _find(
  backbone: backbone_lib.Backbone, target: str, kind: str
) -> tuple[int, modality_table.Modality]:
  """Index and modality of a target; raises ValueError if there is none."""
  targets = {
    m.name: (i, m) for i, m in enumerate(backbone.modalities) if m.kind == kind
  }
  if target not in targets:
    raise ValueError(
      f'The model has no {kind} modality {target!r}; it can '
      f'generate {sorted(targets)}.'
    )
  return targets[target]


def _keys(key: Key, batch_size: int, num_samples: int) -> Key:
  """One key per sequence, [B * S], from one key or from one per example."""
  keys = jax.random.split(key, batch_size) if key.ndim == 0 else key
  keys = jax.vmap(lambda k: jax.random.split(k, num_samples))(keys)
  return keys.reshape(-1)
