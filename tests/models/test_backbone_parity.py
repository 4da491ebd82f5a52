"""The encoder-decoder against recorded outputs of the reference."""

import functools
import itertools

import jax
import numpy as np
import optax
import pytest
import scipy.special

from fusion_jax.convert import terramind
from fusion_jax.models import visibility
from fusion_jax.ops import grouped_losses, losses
from fusion_jax.train import optim
from tests import golden_terramind as golden

BOTH = pytest.mark.parametrize('family', golden.FAMILIES)
SWIGLU_FIRST = pytest.mark.parametrize(  # Same code, more compilations.
  'family', ['swiglu', pytest.param('gelu', marks=pytest.mark.slow)]
)


@functools.partial(jax.jit, static_argnums=0)
def intermediates(model, params, batch):
  """Every array that the golden cases record, by its name there."""
  return model.apply({'params': params}, batch, method=_intermediates)


def _intermediates(model, batch):
  emb, visible = model._embed_places(batch['encoder'])
  content = model.encoder_embeddings(batch['encoder'])
  slots, seen = batch['decoder'], visible[:, None, None, :]
  last, encoder = model.encoder(content + emb, seen, keep_all=True)
  encoded = model.encoder_norm(last)
  context = model.project_context(encoded) + emb
  attends = visibility.decoder_mask(
    slots['modality'], slots['attention'], causal=False, separate=True
  )
  last, decoder = model.decoder(
    model._embed_targets(slots), context, attends[:, None], seen, keep_all=True
  )
  result = {
    'enc_tokens': content,
    'enc_emb': emb,
    'encoder_out': encoded,
    'context': context,
    'decoder_out': model.decoder_norm(last),
  }
  for name, layers in (('encoder', encoder), ('decoder', decoder)):
    result |= {
      f'{name}_block_outputs/{i:02d}': layer for i, layer in enumerate(layers)
    }
  return result


def both_losses(model, params, batch):
  """`mod` loss with its sums, `token` loss; compiled once a model."""
  outputs = intermediates(model, params, batch)['decoder_out']
  slots = batch['decoder']
  (mod, sums), (token, _) = (
    weighted_loss(
      model,
      params,
      outputs,
      slots,
      weights(slots['modality'], slots['trainable'], model.heads),
    )
    for weights in (losses.modality_weights, losses.token_weights)
  )
  return mod, sums, token


@functools.partial(jax.jit, static_argnums=0)
def weighted_loss(model, params, outputs, slots, weight):
  """The grouped loss of the decoder's outputs, and its sums."""
  flat = [
    x.reshape(-1)
    for x in (slots['modality'], slots['target'], weight, 0 * weight)
  ]
  return grouped_losses.grouped_cross_entropy(
    outputs.reshape(-1, model.width),
    *flat,
    model.output_tables(params),
    model.heads,
  )


@BOTH
def test_packed_slots_are_what_the_reference_selects(family):
  case = golden.load(f'encdec_{family}')
  for prefix, sizes in (('', {}), ('truncated_', case.config['truncated'])):
    batch = golden.make_batch(
      case,
      sizes.get('num_encoder_tokens', 0),
      sizes.get('num_decoder_tokens', 0),
    )
    for part, name in (('encoder', 'enc'), ('decoder', 'dec')):
      modality = batch[part]['modality']
      np.testing.assert_array_equal(
        golden.reference_ids(case, modality), case[f'{prefix}{name}_mod_mask']
      )
      np.testing.assert_array_equal(
        modality < 0, case[f'{prefix}{name}_mask'][:, 0]
      )
    np.testing.assert_array_equal(
      batch['decoder']['target'], case[f'{prefix}target_ids']
    )


@BOTH
@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('separate', [False, True])
def test_decoder_mask_is_the_references(family, causal, separate):
  case = golden.load(f'encdec_{family}')
  slots = golden.make_batch(case)['decoder']
  attends = visibility.decoder_mask(
    slots['modality'], slots['attention'], causal=causal, separate=separate
  )
  hidden = case[f'attention_mask_causal{causal:d}_sep{separate:d}']
  used = np.asarray(slots['modality'] >= 0)  # Padding looks where it likes.
  np.testing.assert_array_equal(~np.asarray(attends)[used], hidden[used])


@BOTH
def test_every_intermediate_array_is_the_references(family):
  case, model, batch, params = golden.converted(family)
  used = {'d': np.asarray(batch['decoder']['modality'] >= 0)}
  for name, ours in intermediates(model, params, batch).items():
    rows = used.get(name[0], slice(None))  # Padding of the decoder is free.
    np.testing.assert_allclose(
      ours[rows], case[name][rows], rtol=0, atol=1e-4, err_msg=name
    )


@BOTH
def test_logits_of_all_heads_are_the_references(family):
  case, model, batch, params = golden.converted(family)
  outputs = intermediates(model, params, batch)['decoder_out']
  used = np.asarray(batch['decoder']['modality'] >= 0)
  for name, table in model.output_tables(params).items():
    np.testing.assert_allclose(
      np.asarray(outputs)[used] @ table.T,
      case[f'logits_all_positions/{name}'][used],
      rtol=0,
      atol=1e-4,
    )


@BOTH
def test_both_losses_are_the_references(family):
  case, model, batch, params = golden.converted(family)
  mod, sums, token = both_losses(model, params, batch)
  np.testing.assert_allclose(mod, case['loss_mod'], rtol=0, atol=1e-5)
  np.testing.assert_allclose(token, case['loss_token'], rtol=0, atol=1e-5)
  for head in model.heads:
    total, count = sums[head.name]['ce']
    np.testing.assert_allclose(
      total / count,
      case[f'loss_mod_per_modality/{head.name}'],
      rtol=0,
      atol=1e-5,
    )


@SWIGLU_FIRST
def test_losses_of_other_masks_are_the_references(family):
  case, model, batch, params = golden.converted(family)
  masks = list(itertools.product([False, True], repeat=2))

  @jax.jit
  def all_four(params, batch):
    outputs = []
    for causal, separate in masks:
      other = model.clone(causal=causal, separate=separate)
      outputs.append(other.apply({'params': params}, batch))
    return outputs

  for (causal, separate), outputs in zip(masks, all_four(params, batch)):
    loss = plain_loss(model, params, outputs, batch['decoder'])
    np.testing.assert_allclose(
      loss,
      case[f'loss_mod_causal{causal:d}_sep{separate:d}'],
      rtol=0,
      atol=1e-5,
    )


def plain_loss(model, params, outputs, slots):
  """The `mod` loss in NumPy, from all logits."""
  total = 0
  for head in model.heads:
    member = np.asarray(slots['modality'] == head.index)
    table = params['decoder_embeddings'][head.name]
    logits = np.asarray(outputs)[member] @ table.T
    hit = logits[np.arange(len(logits)), np.asarray(slots['target'])[member]]
    total += np.mean(scipy.special.logsumexp(logits, axis=1) - hit)
  return total / len(model.heads)


@BOTH
def test_loss_of_too_few_slots_is_the_references(family):
  case, model, whole, params = golden.converted(family)
  sizes = case.config['truncated']
  batch = golden.make_batch(
    case, sizes['num_encoder_tokens'], sizes['num_decoder_tokens']
  )
  # As many slots again as padding: no other compilation, and no difference.

  def pad(path, slots, like):
    padding = [(0, n - m) for m, n in zip(slots.shape, like.shape)]
    fill = -1 if path[-1].key == 'modality' else 0
    return np.pad(slots, padding, constant_values=fill)

  batch = jax.tree_util.tree_map_with_path(pad, batch, whole)
  loss, *_ = both_losses(model, params, batch)
  np.testing.assert_allclose(
    loss, case['truncated_loss_mod'], rtol=0, atol=1e-5
  )


@BOTH
def test_modality_without_target_still_divides_the_loss(family):
  case, model, _, params = golden.converted(family)
  batch = golden.make_batch(case, hide_targets=['tok_sen1grd@224'])
  mod, _, token = both_losses(model, params, batch)
  name = 'no_target_in_last_decoder_modality'
  np.testing.assert_allclose(mod, case[f'loss_mod_{name}'], rtol=0, atol=1e-5)
  np.testing.assert_allclose(
    token, case[f'loss_token_{name}'], rtol=0, atol=1e-5
  )


@BOTH
def test_every_gradient_is_the_references(family):
  case, model, batch, params = golden.converted(family)
  loss, (grads, _) = golden.gradients(model, params, batch)
  np.testing.assert_allclose(loss, case['loss_mod'], rtol=0, atol=1e-5)
  theirs = golden.load_gradients(f'encdec_{family}')
  ours = terramind.to_terramind(grads, golden.table(case))
  assert set(ours) == set(theirs)
  for key, value in theirs.items():
    limit = 1e-4 * np.abs(value).max()
    np.testing.assert_allclose(
      ours[key], value, rtol=0, atol=limit, err_msg=key
    )
  np.testing.assert_allclose(
    optax.tree.norm(grads), case['grad_global_norm'], rtol=1e-5
  )


@SWIGLU_FIRST
def test_six_adamw_steps_are_the_references(family):
  case, model, batch, params = golden.converted(family)
  settings, rates = case.config['training'], case['train_lrs']
  adam = optax.chain(
    optax.clip_by_global_norm(settings['clip_global_norm']),
    optax.scale_by_adam(*settings['betas'], settings['eps']),
    optax.add_decayed_weights(settings['weight_decay'], optim.decayed),
  )
  opt_state, update = adam.init(params), jax.jit(adam.update)
  result, norms = [], []
  for rate in [*rates, 0.0]:
    loss, (grads, _) = golden.gradients(model, params, batch)
    updates, opt_state = update(grads, opt_state, params)
    params = jax.tree.map(
      lambda p, u, rate=rate: p - np.float32(rate) * u,
      params,
      updates,
    )
    result.append(loss)
    norms.append(optax.tree.norm(grads))
  np.testing.assert_allclose(result, case['train_losses'], rtol=0, atol=1e-3)
  np.testing.assert_allclose(
    norms[:-1], case['train_grad_norms_before_clipping'], rtol=1e-3
  )
  ours = terramind.to_terramind(params, golden.table(case))
  start = 'outputs/train_final_params/'
  tied = {
    'decoder_embeddings.coords.to_logits.weight': (
      'decoder_embeddings.coords.token_emb.weight'
    ),
    'decoder_embeddings.coords.mod_emb': 'encoder_embeddings.coords.mod_emb',
  }
  recorded = [key for key in case.io if key.startswith(start)]
  assert recorded
  for key in recorded:
    name = key.removeprefix(start)
    np.testing.assert_allclose(
      ours[tied.get(name, name)], case.io[key], rtol=0, atol=1e-4, err_msg=name
    )


@BOTH
def test_decay_spares_what_the_reference_spares(family):
  case, _, _, params = golden.converted(family)
  decays = jax.tree.map(
    lambda decay, x: np.full(x.shape, decay), optim.decayed(params), params
  )
  ours = terramind.to_terramind(decays, golden.table(case))
  spared = sorted(key for key, value in ours.items() if not value.any())
  assert spared == sorted(case.config['training']['no_decay'])
