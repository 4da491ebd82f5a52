"""Generation of sequences, one token after the other, with a KV cache.

Source: 4M `fourm/generation/sequences.py` as TerraMind uses it. Differs from
it, which re-runs the whole prefix for every token and lets a weather series
end where it likes: keys and values are kept, and a series has exactly its
leads.
"""

import dataclasses

import jax
import jax.numpy as jnp

from fusion_jax import modalities as modality_table
from fusion_jax.ops import decoding

FIRST = modality_table.FIRST_SENTINEL + 1  # [S_1] opens what is generated,
STOP = FIRST + 1  # and [S_2] closes it.


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How codes are drawn; see `decoding.sample`."""

  temperature: float = 1.0  # ~ 0 is greedy.
  top_k: float = 0  # A count, or a fraction of the codes; 0 is off.
  top_p: float = 0.0  # 0 is off.


GREEDY = Sampling(temperature=0.0)


def series(
  backbone, params, slots, key, target, *, num_samples=1, sampling=Sampling()
):
  """Draws whole weather series, value by value.

  Only values come out (and [ZERO] for precipitation): no special code is ever
  drawn, and a series is as long as its leads.

  Args:
    backbone: `Backbone`.
    params: its parameters.
    slots: what the encoder sees; `transforms.showing` makes them.
    key: of all draws; or [B] keys, one a condition, which then draws the same
      whatever else is in the batch.
    target: name of the modality.
    num_samples: series a condition.
    sampling: how codes are drawn.

  Returns:
    [B, S, L] int32 codes.

  Raises:
    ValueError: if the model has no such series.
  """
  index, modality = _find(backbone, target, 'series')
  codes = decode(
    backbone,
    params,
    slots,
    key,
    index,
    length=len(modality.leads),
    num_samples=num_samples,
    sampling=sampling,
    stops=False,
    allowed=series_codes(modality),
  )
  return codes.reshape(-1, num_samples, codes.shape[-1])


def text(
  backbone,
  params,
  slots,
  key,
  target='coords',
  *,
  num_samples=1,
  sampling=Sampling(),
):
  """Draws word sequences such as places, until each has stopped.

  Args: as of `series`.

  Returns:
    [B, S, max_tokens] int32: codes of `run_of_first_sentinel`, then [PAD].
  """
  index, modality = _find(backbone, target, 'text')
  codes = decode(
    backbone,
    params,
    slots,
    key,
    index,
    length=modality.max_tokens,
    num_samples=num_samples,
    sampling=sampling,
    stops=True,
    allowed=None,
  )
  codes, _ = run_of_first_sentinel(codes)
  return codes.reshape(-1, num_samples, codes.shape[-1])


def series_codes(modality):
  """Bool [V]: the codes that a generated series may hold."""
  code = jnp.arange(modality.vocab_size)
  is_value = code >= modality_table.VALUE_OFFSET
  if modality.bands == ('tp',) and modality.ordered:
    is_value |= code == modality_table.ZERO
  return is_value


def run_of_first_sentinel(codes, num_sentinels=modality_table.NUM_SENTINELS):
  """What a prediction puts in place of the [S_1] that it was to replace.

  That is the run behind the last [S_1] (the one decoding starts with is not in
  `codes`), up to the next sentinel of any kind.

  Args:
    codes: int [..., T], as decoded.
    num_sentinels: how many the vocabulary has.

  Returns:
    int [..., T] codes of the run, then [PAD]; int [...] its length.
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


def _find(backbone, target, kind):
  """Index and `Modality` of a target; ValueError if there is none."""
  targets = {
    m.name: (i, m) for i, m in enumerate(backbone.modalities) if m.kind == kind
  }
  if target not in targets:
    raise ValueError(
      f'The model has no {kind} modality {target!r}; it can '
      f'generate {sorted(targets)}.'
    )
  return targets[target]


def _keys(key, batch_size, num_samples):
  """One key a sequence, [B * S], of one key or of one a condition."""
  keys = jax.random.split(key, batch_size) if key.ndim == 0 else key
  keys = jax.vmap(lambda k: jax.random.split(k, num_samples))(keys)
  return keys.reshape(-1)


def decode(
  backbone,
  params,
  slots,
  key,
  index,
  *,
  length,
  num_samples=1,
  sampling=Sampling(),
  stops=False,
  allowed=None,
):
  """Codes [B * S, length] that follow [S_1], drawn in one compiled loop.

  With `stops` the loop ends as soon as every sequence has drawn [S_2]; what
  was not decoded is [PAD].
  """
  variables = {'params': params}
  encoded = backbone.apply(variables, slots, method='encode')
  cache = backbone.apply(
    variables, *encoded, length, num_samples, method='start_decoding'
  )
  table = backbone.output_tables(params)[backbone.modalities[index].name]
  keys = _keys(key, encoded[0].shape[0], num_samples)
  rows = len(keys)

  def draw(key, logits, step):
    return decoding.sample(
      jax.random.fold_in(key, step),
      logits,
      sampling.temperature,
      sampling.top_k,
      sampling.top_p,
      allowed,
    )

  def unfinished(carry):
    step, _, _, stopped, _ = carry
    if not stops:  # No talk between devices about what never happens.
      return step < length
    return (step < length) & ~stopped.all()

  def decode_one(carry):
    step, cache, code, stopped, codes = carry
    token, cache = backbone.apply(
      variables, cache, code, step, jnp.int32(index), method='decode_step'
    )
    logits = jnp.matmul(
      token, table.T.astype(token.dtype), preferred_element_type=jnp.float32
    )
    code = jax.vmap(draw, in_axes=(0, 0, None))(keys, logits, step)
    if stops:
      code = jnp.where(stopped, modality_table.PAD, code)
      stopped |= code == STOP
    codes = jax.lax.dynamic_update_slice_in_dim(
      codes, code[:, None], step, axis=1
    )
    return step + 1, cache, code, stopped, codes

  start = (
    jnp.int32(0),
    cache,
    jnp.full(rows, FIRST, jnp.int32),
    jnp.zeros(rows, bool),
    jnp.full((rows, length), modality_table.PAD, jnp.int32),
  )
  return jax.lax.while_loop(unfinished, decode_one, start)[-1]
