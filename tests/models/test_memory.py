"""What the compiled training loss of the base size holds at once."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities as modality_table
from fusion_jax.models import backbone
from fusion_jax.ops import grouped_losses, losses

BATCH, SLOTS, WIDTH = 128, 128, 768
V1 = [
  name
  for name, m in modality_table.MODALITIES.items()
  if m.kind != 'series' and (m.is_target or 'sen2l2a' in name)
]


@pytest.mark.slow
def test_base_at_batch_128_never_holds_slots_times_vocabularies():
  model = backbone.Backbone(modality_table.select(V1), WIDTH, 12, 12, 12)
  batch = shaped_batch(model)
  params = jax.eval_shape(model.init, jax.random.key(0), batch)['params']

  def loss(params, batch):
    outputs = model.apply({'params': params}, batch)
    slots = {name: x.reshape(-1) for name, x in batch['decoder'].items()}
    weight = losses.modality_weights(
      slots['modality'], slots['trainable'], model.heads
    )
    return grouped_losses.grouped_cross_entropy(
      outputs.reshape(-1, WIDTH),
      slots['modality'],
      slots['target'],
      weight,
      jnp.zeros_like(weight),
      model.output_tables(params),
      model.heads,
    )[0]

  compiled = jax.jit(jax.value_and_grad(loss)).lower(params, batch).compile()
  vocabularies = [head.vocab_size for head in model.heads]
  shapes = array_shapes(compiled.as_text())
  smallest = BATCH * SLOTS * min(vocabularies)
  for shape in shapes:
    assert not (set(shape) & set(vocabularies) and np.prod(shape) >= smallest)
    assert np.prod(shape, dtype=float) < BATCH * SLOTS * sum(vocabularies)
  # All logits would take 7.1 GB by themselves; a block's take 15 MB.
  assert (128, max(vocabularies)) in shapes
  largest_logits = max(
    np.prod(shape)
    for shape in shapes
    if set(shape) & set(vocabularies) and WIDTH not in shape
  )
  assert largest_logits <= 128 * max(vocabularies)


def array_shapes(text):
  """All array shapes that appear in a compiled program."""
  return {
    tuple(map(int, result.split(',')))
    for result in re.findall(r'\b[a-z]+\d*\[([\d,]+)\]', text)
  }


def shaped_batch(model):
  ints = jax.ShapeDtypeStruct((BATCH, SLOTS), jnp.int32)
  keys = ('modality', 'position', 'code')
  patches = {
    m.name: jax.ShapeDtypeStruct(
      (BATCH, SLOTS, 256 * len(m.bands)), jnp.float32
    )
    for m in model.modalities
    if m.kind == 'image'
  }
  trainable = jax.ShapeDtypeStruct((BATCH, SLOTS), jnp.bool_)
  return {
    'encoder': dict.fromkeys(keys, ints) | {'patches': patches},
    'decoder': dict.fromkeys((*keys, 'target', 'attention'), ints)
    | {'trainable': trainable},
  }
