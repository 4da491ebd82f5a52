"""Six recorded AdamW steps of the reference, taken by the library's step."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fusion_jax.convert import terramind
from fusion_jax.ops import grouped_losses, losses
from fusion_jax.train import optim, sharding, state, step
from tests import golden_terramind as golden

_SLOW_MESH = (pytest.mark.slow, pytest.mark.multi_device)
_TIED = {  # Recorded under the names of their copies.
  'decoder_embeddings.coords.to_logits.weight': (
    'decoder_embeddings.coords.token_emb.weight'
  ),
  'decoder_embeddings.coords.mod_emb': 'encoder_embeddings.coords.mod_emb',
}


class Task:
  """The backbone with its cross-entropy, as the pretraining task has it."""

  def __init__(self, model):
    self._model = model

  def weigh(self, batch):
    slots = batch['decoder']
    weight = losses.modality_weights(
      slots['modality'], slots['trainable'], self._model.heads
    )
    return batch | {'decoder': slots | {'weight': weight}}

  def loss(self, params, extra, batch, key):
    del key
    outputs = self._model.apply({'params': params}, batch)
    slots = {name: x.reshape(-1) for name, x in batch['decoder'].items()}
    loss, _ = grouped_losses.grouped_cross_entropy(
      outputs.reshape(-1, self._model.width),
      slots['modality'],
      slots['target'],
      slots['weight'],
      jnp.zeros_like(slots['weight']),
      self._model.output_tables(params),
      self._model.heads,
    )
    return loss, ({}, extra)


def optimizer(settings):
  return optim.make(
    ml_collections.ConfigDict(
      dict(
        peak_lr=1e-3,
        min_lr=0.0,
        warmup_steps=2,
        warmup_tokens=0,
        b1=settings['betas'][0],
        b2=settings['betas'][1],
        eps=settings['eps'],
        weight_decay=settings['weight_decay'],
        clip_norm=settings['clip_global_norm'],
        skip_norm=0.0,
      )
    ),
    6,
  )


@pytest.mark.parametrize(
  'family, accumulate, devices',
  [
    ('gelu', 1, 1),
    pytest.param('swiglu', 1, 1, marks=pytest.mark.slow),
    pytest.param('swiglu', 2, 2, marks=_SLOW_MESH),
    pytest.param('swiglu', 1, 4, marks=_SLOW_MESH),
  ],
)
def test_steps_are_the_references(family, accumulate, devices):
  case = golden.load(f'encdec_{family}')
  model, batch = golden.make_backbone(case), golden.make_batch(case)
  tx, schedule = optimizer(case.config['training'])
  np.testing.assert_allclose(
    [schedule(i) for i in range(6)], case['train_lrs'], rtol=1e-6, atol=1e-10
  )
  now = state.create(golden.params(case, model, batch), {}, tx)
  mesh = sharding.make_mesh(min(2, devices), jax.devices()[:devices])
  with jax.set_mesh(mesh):
    now = jax.device_put(now, sharding.state_shardings(now, mesh, 2**10))
    batch = sharding.place(batch, mesh)
    advance = jax.jit(
      step.make_train_step(
        Task(model), tx, 0, schedule=schedule, accumulate=accumulate
      )
    )
    metrics = []
    for _ in range(6):
      now, values = advance(now, batch)
      metrics.append(values)
    _, last = advance(now, batch)
  result = [float(m['loss'][0]) for m in metrics + [last]]
  np.testing.assert_allclose(result, case['train_losses'], rtol=0, atol=1e-5)
  np.testing.assert_allclose(
    [float(m['grad_norm'][0]) for m in metrics],
    case['train_grad_norms_before_clipping'],
    rtol=1e-5,
  )
  check_params(case, jax.device_get(now.params))


def check_params(case, params):
  ours = terramind.to_terramind(params, golden.table(case))
  start = 'outputs/train_final_params/'
  recorded = {
    key.removeprefix(start): value
    for key, value in case.io.items()
    if key.startswith(start)
  }
  assert len(recorded) == 9
  for name, value in recorded.items():
    np.testing.assert_allclose(
      ours[_TIED.get(name, name)], value, rtol=0, atol=4e-5, err_msg=name
    )
