"""The encoder-decoder against recorded outputs of the reference."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

from fusion_jax import modalities as modality_table
from fusion_jax.convert import terramind
from fusion_jax.models import backbone
from fusion_jax.ops import losses
from fusion_jax.train import optim
from tests import golden_terramind as golden

BOTH = pytest.mark.parametrize('family', golden.FAMILIES)
SIZES = {  # width, encoder, decoder, heads, mlp, bias; millions of parameters.
    'tiny': (192, 12, 4, 3, 'gelu', True, 52.06),
    'small': (384, 12, 6, 6, 'gelu', True, 124.26),
    'base': (768, 12, 12, 12, 'swiglu', False, 376.09),
    'large': (1024, 24, 24, 16, 'swiglu', False, 942.10),
}
V1 = [name for name, m in modality_table.MODALITIES.items()
      if m.kind != 'series']


@functools.cache
def converted(family, **kwargs):
  """Case, model, packed batch and converted parameters.

  Padding slots get noise for pixels: nothing may depend on it.
  """
  case = golden.load(f'encdec_{family}')
  model, batch = golden.make_backbone(case, **kwargs), golden.make_batch(case)
  encoder = batch['encoder']
  ((name, patches),) = encoder['patches'].items()
  noise = np.random.default_rng(0).normal(size=patches.shape)
  hidden = np.asarray(encoder['modality'] < 0)[..., None]
  patches = np.where(hidden, noise.astype('f'), patches)
  batch['encoder']['patches'] = {name: patches}
  return case, model, batch, golden.params(case, model, batch)


@functools.partial(jax.jit, static_argnums=0)
def intermediates(model, params, batch):
  """Every array that the golden cases record, by its name there."""
  return model.apply({'params': params}, batch, method=_intermediates)


def _intermediates(model, batch):
  encoded, emb, visible = model.encode(batch['encoder'])
  content = model.encoder_embeddings(batch['encoder']) * visible[..., None]
  context = model.project_context(encoded) + emb
  slots, seen = batch['decoder'], visible[:, None, None, :]
  attends = backbone.decoder_mask(
      slots['modality'], slots['attention'], causal=False, separate=True)
  _, encoder = model.encoder(content + emb, seen, keep_all=True)
  _, decoder = model.decoder(model._embed_targets(slots), context,
                             attends[:, None], seen, keep_all=True)
  found = {'enc_tokens': content, 'enc_emb': emb, 'encoder_out': encoded,
           'context': context, 'decoder_out': model(batch)}
  for name, layers in (('encoder', encoder), ('decoder', decoder)):
    found |= {f'{name}_block_outputs/{i:02d}': layer
              for i, layer in enumerate(layers)}
  return found


def total_loss(model, params, batch, weights=losses.modality_weights):
  """Loss of a batch without the ordinal term, and its sums."""
  outputs = model.apply({'params': params}, batch)
  slots = batch['decoder']
  weight = weights(slots['modality'], slots['trainable'], model.heads)
  flat = [x.reshape(-1) for x in (
      slots['modality'], slots['target'], weight, jnp.zeros_like(weight))]
  return losses.grouped_cross_entropy(
      outputs.reshape(-1, model.width), *flat, model.output_tables(params),
      model.heads)


@functools.partial(jax.jit, static_argnums=0)
def both_losses(model, params, batch):
  """`mod` loss with its sums, `token` loss."""
  return (*total_loss(model, params, batch),
          total_loss(model, params, batch, losses.token_weights)[0])


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, params, batch):
  """Loss; its gradients by parameters and by patches."""
  def loss(params, patches):
    encoder = batch['encoder'] | {'patches': patches}
    return total_loss(model, params, batch | {'encoder': encoder})[0]
  return jax.value_and_grad(loss, (0, 1))(params, batch['encoder']['patches'])


@BOTH
def test_packed_slots_are_what_the_reference_selects(family):
  case = golden.load(f'encdec_{family}')
  for prefix, sizes in (('', {}), ('truncated_', case.config['truncated'])):
    batch = golden.make_batch(case, sizes.get('num_encoder_tokens', 0),
                              sizes.get('num_decoder_tokens', 0))
    for part, name in (('encoder', 'enc'), ('decoder', 'dec')):
      modality = batch[part]['modality']
      np.testing.assert_array_equal(
          golden.reference_ids(case, modality),
          case[f'{prefix}{name}_mod_mask'])
      np.testing.assert_array_equal(
          modality < 0, case[f'{prefix}{name}_mask'][:, 0])
    np.testing.assert_array_equal(
        batch['decoder']['target'], case[f'{prefix}target_ids'])


@BOTH
@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('separate', [False, True])
def test_decoder_mask_is_the_references(family, causal, separate):
  case = golden.load(f'encdec_{family}')
  slots = golden.make_batch(case)['decoder']
  attends = backbone.decoder_mask(
      slots['modality'], slots['attention'], causal=causal, separate=separate)
  hidden = case[f'attention_mask_causal{causal:d}_sep{separate:d}']
  used = np.asarray(slots['modality'] >= 0)  # Padding looks where it likes.
  np.testing.assert_array_equal(~np.asarray(attends)[used], hidden[used])


@BOTH
def test_every_intermediate_array_is_the_references(family):
  case, model, batch, params = converted(family)
  used = {'d': np.asarray(batch['decoder']['modality'] >= 0)}
  for name, ours in intermediates(model, params, batch).items():
    rows = used.get(name[0], slice(None))  # Padding of the decoder is free.
    np.testing.assert_allclose(
        ours[rows], case[name][rows], rtol=0, atol=1e-4, err_msg=name)


@BOTH
def test_logits_of_all_heads_are_the_references(family):
  case, model, batch, params = converted(family)
  outputs = intermediates(model, params, batch)['decoder_out']
  used = np.asarray(batch['decoder']['modality'] >= 0)
  for name, table in model.output_tables(params).items():
    np.testing.assert_allclose(
        np.asarray(outputs)[used] @ table.T,
        case[f'logits_all_positions/{name}'][used], rtol=0, atol=1e-4)


@BOTH
def test_both_losses_are_the_references(family):
  case, model, batch, params = converted(family)
  mod, sums, token = both_losses(model, params, batch)
  np.testing.assert_allclose(mod, case['loss_mod'], rtol=0, atol=1e-5)
  np.testing.assert_allclose(token, case['loss_token'], rtol=0, atol=1e-5)
  for head in model.heads:
    total, count = sums[head.name]['ce']
    np.testing.assert_allclose(
        total / count, case[f'loss_mod_per_modality/{head.name}'],
        rtol=0, atol=1e-5)


@BOTH
def test_losses_of_other_masks_are_the_references(family):
  case, model, batch, params = converted(family)
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
        loss, case[f'loss_mod_causal{causal:d}_sep{separate:d}'],
        rtol=0, atol=1e-5)


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
  case, model, _, params = converted(family)
  sizes = case.config['truncated']
  batch = golden.make_batch(
      case, sizes['num_encoder_tokens'], sizes['num_decoder_tokens'])
  loss, *_ = both_losses(model, params, batch)
  np.testing.assert_allclose(
      loss, case['truncated_loss_mod'], rtol=0, atol=1e-5)


@BOTH
def test_modality_without_target_still_divides_the_loss(family):
  case, model, _, params = converted(family)
  batch = golden.make_batch(case, hide_targets=['tok_sen1grd@224'])
  mod, _, token = both_losses(model, params, batch)
  name = 'no_target_in_last_decoder_modality'
  np.testing.assert_allclose(mod, case[f'loss_mod_{name}'], rtol=0, atol=1e-5)
  np.testing.assert_allclose(
      token, case[f'loss_token_{name}'], rtol=0, atol=1e-5)


@BOTH
def test_every_gradient_is_the_references(family):
  case, model, batch, params = converted(family)
  _, (grads, _) = gradients(model, params, batch)
  theirs = golden.load_gradients(f'encdec_{family}')
  ours = terramind.to_terramind(grads, golden.table(case))
  assert set(ours) == set(theirs)
  for key, value in theirs.items():
    limit = 1e-4 * np.abs(value).max()
    np.testing.assert_allclose(ours[key], value, rtol=0, atol=limit,
                               err_msg=key)
  np.testing.assert_allclose(
      optax.tree.norm(grads), case['grad_global_norm'], rtol=1e-5)


@pytest.mark.slow
def test_unrolled_layers_give_the_same_gradients():
  _, model, batch, params = converted('gelu')
  _, (expected, _) = gradients(model, params, batch)
  _, (grads, _) = gradients(model.clone(unroll=3), params, batch)
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6),
               grads, expected)


@pytest.mark.parametrize(
    'family', ['swiglu', pytest.param('gelu', marks=pytest.mark.slow)])
def test_six_adamw_steps_are_the_references(family):
  case, model, batch, params = converted(family)
  settings, rates = case.config['training'], case['train_lrs']
  adam = optax.chain(
      optax.clip_by_global_norm(settings['clip_global_norm']),
      optax.scale_by_adam(*settings['betas'], settings['eps']),
      optax.add_decayed_weights(settings['weight_decay'], optim.decayed))
  opt_state, update = adam.init(params), jax.jit(adam.update)
  found, norms = [], []
  for rate in [*rates, 0.0]:
    loss, (grads, _) = gradients(model, params, batch)
    updates, opt_state = update(grads, opt_state, params)
    params = jax.tree.map(lambda p, u: p - np.float32(rate) * u, params,  # noqa: B023
                          updates)
    found.append(loss)
    norms.append(optax.tree.norm(grads))
  np.testing.assert_allclose(found, case['train_losses'], rtol=0, atol=1e-3)
  np.testing.assert_allclose(
      norms[:-1], case['train_grad_norms_before_clipping'], rtol=1e-3)
  ours = terramind.to_terramind(params, golden.table(case))
  start = 'outputs/train_final_params/'
  tied = {'decoder_embeddings.coords.to_logits.weight':
              'decoder_embeddings.coords.token_emb.weight',
          'decoder_embeddings.coords.mod_emb':
              'encoder_embeddings.coords.mod_emb'}
  recorded = [key for key in case.io if key.startswith(start)]
  assert recorded
  for key in recorded:
    name = key.removeprefix(start)
    np.testing.assert_allclose(ours[tied.get(name, name)], case.io[key],
                               rtol=0, atol=1e-4, err_msg=name)


@BOTH
def test_decay_spares_what_the_reference_spares(family):
  case, _, _, params = converted(family)
  decays = jax.tree.map(
      lambda decay, x: np.full(x.shape, decay), optim.decayed(params), params)
  ours = terramind.to_terramind(decays, golden.table(case))
  spared = sorted(key for key, value in ours.items() if not value.any())
  assert spared == sorted(case.config['training']['no_decay'])


@BOTH
def test_hidden_tokens_do_not_change_the_loss(family):
  _, model, batch, params = converted(family)
  _, (_, grads) = gradients(model, params, batch)
  (by_pixel,) = map(np.asarray, grads.values())
  hidden = np.asarray(batch['encoder']['modality'] < 0)
  assert hidden.any()
  assert np.all(by_pixel[hidden] == 0)
  assert np.abs(by_pixel[~hidden]).max() > 0


def test_padding_row_gets_no_gradient_from_look_ups():
  case, model, batch, params = converted('gelu')
  encoder = batch['encoder']
  index = [m.name for m in case.modalities].index('demo_seq')
  code = np.where(encoder['modality'] == index, 0, encoder['code'])
  _, (grads, _) = gradients(
      model, params, batch | {'encoder': encoder | {'code': code}})
  assert np.all(grads['encoder_embeddings']['demo_seq'][0] == 0)
  assert np.any(grads['modality_embeddings']['demo_seq'] != 0)


@pytest.mark.parametrize('size', SIZES)
def test_number_of_parameters_is_the_references(size):
  width, encoder, decoder, heads, mlp, bias, millions = SIZES[size]
  model = backbone.Backbone(modality_table.select(V1), width, encoder, decoder,
                            heads, mlp, bias)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), shaped_batch(model, 1))['params']
  total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert round(total / 1e6, 2) == millions


def shaped_batch(model, batch_size, slots=128):
  """`ShapeDtypeStruct`s of a batch."""
  ints = jax.ShapeDtypeStruct((batch_size, slots), jnp.int32)
  keys = ('modality', 'position', 'code')
  patches = {
      m.name: jax.ShapeDtypeStruct(
          (batch_size, slots, 256 * len(m.bands)), jnp.float32)
      for m in model.modalities if m.kind == 'image'}
  return {'encoder': dict.fromkeys(keys, ints) | {'patches': patches},
          'decoder': dict.fromkeys((*keys, 'target', 'attention'), ints) | {
              'trainable': jax.ShapeDtypeStruct(
                  (batch_size, slots), jnp.bool_)}}


def test_initialisation_is_the_references():
  model = backbone.Backbone(
      modality_table.select(['coords', 'untok_dem@224']), 192, 2, 2, 3)
  batch = jax.tree.map(
      lambda x: jnp.zeros(x.shape, x.dtype), shaped_batch(model, 1, 4))
  params = jax.jit(model.init)(jax.random.key(0), batch)['params']

  def bound(array):
    return float(np.abs(array).max())

  def xavier(*fans):
    return pytest.approx((6 / sum(fans))**0.5, rel=0.01)

  attention = params['encoder']['blocks']['attention']
  assert bound(attention['qkv']['kernel']) == xavier(192, 192)
  assert bound(params['decoder']['blocks']['cross_attention']['kv'][
      'kernel']) == xavier(192, 192)
  assert bound(params['encoder']['blocks']['feed']['fc1'][
      'kernel']) == xavier(192, 512)
  assert bound(params['encoder_embeddings']['untok_dem@224']) == xavier(
      256, 192)
  decoder_table = params['decoder_embeddings']['coords']
  assert float(decoder_table.std()) == pytest.approx(0.0081, abs=2e-4)
  encoder_table = params['encoder_embeddings']['coords']
  assert float(encoder_table.std()) == pytest.approx(0.02, rel=0.01)
  assert float(encoder_table[0].std()) == pytest.approx(0.02, rel=0.2)
  assert np.all(params['project_context']['bias'] == 0)
  layers = attention['qkv']['kernel']
  assert np.any(layers[0] != layers[1])


@BOTH
def test_cached_decoding_equals_the_causal_decoder(family):
  case, model, batch, params = converted(family, causal=True)
  index = [m.name for m in case.modalities].index('demo_seq')
  size, length = case.config['batch'], 14  # Positions start over after 12.
  codes = jax.random.randint(jax.random.key(0), (size, length), 1, 60)
  slots = {'modality': jnp.full((size, length), index), 'code': codes,
           'position': jnp.broadcast_to(jnp.arange(length), codes.shape),
           'attention': jnp.ones_like(codes)}

  @jax.jit
  def at_once(params):
    encoded = model.apply(
        {'params': params}, batch['encoder'], method='encode')
    return encoded, model.apply(
        {'params': params}, *encoded, slots, method='decode')

  @jax.jit
  def one_by_one(params, encoded):
    cache = model.apply({'params': params}, *encoded, length,
                        method='start_decoding')

    def step(cache, i):
      output, cache = model.apply({'params': params}, cache, codes[:, i], i,
                                  index, method='decode_step')
      return cache, output

    return jax.lax.scan(step, cache, jnp.arange(length))[1].swapaxes(0, 1)

  encoded, expected = at_once(params)
  np.testing.assert_allclose(
      one_by_one(params, encoded), expected, rtol=0, atol=1e-5)


def test_bfloat16_computes_near_float32_with_float32_parameters():
  case, model, batch, params = converted('swiglu')
  half = model.clone(dtype=jnp.bfloat16)
  shapes = jax.eval_shape(half.init, jax.random.key(0), batch)['params']
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {
      jnp.dtype('float32')}
  outputs = jax.eval_shape(half.apply, {'params': params}, batch)
  assert outputs.dtype == jnp.bfloat16
  loss, *_ = both_losses(half, params, batch)
  np.testing.assert_allclose(loss, case['loss_mod'], rtol=0.02)


@pytest.mark.parametrize('change, message', [
    ({'num_heads': 5}, 'num_heads=5'), ({'width': 6, 'num_heads': 1}, 'width'),
    ({'mlp': 'relu'}, 'relu')])
def test_sizes_that_do_not_fit_raise(change, message):
  sizes = dict(width=8, num_heads=2, encoder_depth=1, decoder_depth=1)
  with pytest.raises(ValueError, match=message):
    backbone.Backbone(modality_table.select(['coords']), **sizes | change)


def test_unsorted_modalities_raise():
  selected = modality_table.select(['coords', 't2m_hourly'])
  with pytest.raises(ValueError, match='sorted by name'):
    backbone.Backbone(selected[::-1], 8, 1, 1, 2)
