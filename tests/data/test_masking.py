"""Budgets, masks and slots: the reference's, with its draws, and as laws."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from fusion_jax import modalities
from fusion_jax.data import budgets, masking

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
GOLDEN = json.loads((DATA / 'masking' / 'masking.json').read_text())
KINDS = {'img': 'tokens', 'seq': 'text', 'seq_token': 'series'}


class Recorded:
  """Stands in for a NumPy generator, and returns recorded draws in turn."""

  def __init__(self, *draws):
    self.draws = list(draws)

  def _next(self, *_, **__):
    return np.array(self.draws.pop(0))

  random = dirichlet = integers = _next

  def uniform(self):
    return float(self._next())


def modality(name, max_tokens, kind='tokens', bands=('x',), vocab_size=10):
  return modalities.Modality(
    name, kind, '1', bands, max_tokens, vocab_size, name
  )


def golden_mixture():
  selected = tuple(
    modality(
      name,
      info['max_tokens'],
      'image' if name.startswith('untok') else KINDS[info['type']],
    )
    for name, info in GOLDEN['modalities'].items()
  )
  return selected, budgets.Mixture(
    {name: info['ia'] for name, info in GOLDEN['modalities'].items()},
    {name: info['ta'] for name, info in GOLDEN['modalities'].items()},
  )


@pytest.mark.parametrize('case', GOLDEN['span'])
def test_spans_equal_the_reference(case):
  seen, to_predict, _ = masking.mask_spans(
    np.array(case['sequence']), np.array(case['draws']) > case['keep_prob']
  )
  np.testing.assert_array_equal(seen, case['input_ids'])
  np.testing.assert_array_equal(to_predict, case['target_ids'])


@pytest.mark.parametrize('case', GOLDEN['image_mask'])
def test_image_masks_equal_the_reference(case):
  masks = masking.mask_image(
    case['num_tokens'],
    case['input_budget'],
    case['target_budget'],
    Recorded(case['noise']),
  )
  for name, mask in masks.items():
    np.testing.assert_array_equal(mask, case[name], name)


@pytest.mark.parametrize('case', GOLDEN['sequence_mask'])
def test_sequence_masks_equal_the_reference(case):
  rng = Recorded(*(draw for _, draw in case['draws']))
  grid = masking.mask_sequence(
    np.array(case['sequence']) + case['vocab_offset'],
    case['max_tokens'],
    case['input_budget'],
    case['target_budget'],
    case['keep'],
    rng,
  )
  assert not rng.draws
  for name, values in grid.items():
    np.testing.assert_array_equal(values, case[name], name)


@pytest.mark.parametrize('case', GOLDEN['budgets'])
def test_budgets_equal_the_reference(case):
  selected, mixture = golden_mixture()
  rng = Recorded(
    *(draw for _, draw in case['input_draws'] + case['target_draws'])
  )
  seen, predicted = budgets.component_budgets(
    mixture,
    selected,
    case['component'],
    case['num_input'],
    case['num_target'],
    rng,
  )
  assert not rng.draws
  assert list(seen.values()) == case['input_budget']
  assert list(predicted.values()) == case['target_budget']


@pytest.mark.parametrize('component', [0, 1])
def test_budgets_have_the_statistics_of_the_reference(component):
  selected, mixture = golden_mixture()
  rng = np.random.default_rng(component)
  draws = np.array(
    [
      [
        list(part.values())
        for part in budgets.component_budgets(
          mixture, selected, component, 128, 128, rng
        )
      ]
      for _ in range(10_000)
    ]
  )
  golden = GOLDEN['statistics'][component]
  for i, side in enumerate(('input', 'target')):
    std = np.array(golden[f'{side}_std'])
    error = 5 * std * np.sqrt(1 / 10_000 + 1 / golden['draws'])
    mean = draws[:, i].mean(0)
    assert (np.abs(mean - golden[f'{side}_mean']) <= error).all()
    np.testing.assert_allclose(draws[:, i].std(0), std, rtol=0.04)
    np.testing.assert_allclose(
      (draws[:, i] == 0).mean(0), golden[f'{side}_zero_fraction'], atol=0.02
    )


def test_budgets_of_the_mixture_have_the_moments_of_its_dirichlets():
  selected = tuple(modality(name, 10_000) for name in 'abcd')
  alphas = np.array([[8.0, 1.0, 0.5, 2.0], [0.5, 0.5, 0.5, 0.5]])
  mixture = budgets.Mixture(
    dict(zip('abcd', alphas.T)),
    dict(zip('abcd', alphas.T)),
    weights=(0.3, 0.7),
    num_inputs=(1_000, 1_000),
    num_targets=(500, 500),
  )
  rng = np.random.default_rng(0)
  draws = [
    budgets.sample_budgets(mixture, selected, rng) for _ in range(10_000)
  ]
  total = alphas.sum(1, keepdims=True)
  mean = alphas / total
  variance = mean * (1 - mean) / (total + 1)
  weights = np.array([[0.3], [0.7]])
  second = (weights * (variance + mean**2)).sum(0)
  mean = (weights * mean).sum(0)
  for side, size in ((0, 1_000), (1, 500)):
    shares = np.array([list(draw[side].values()) for draw in draws]) / size
    np.testing.assert_allclose(shares.sum(1), 1)
    error = 5 * np.sqrt((second - mean**2) / 10_000) + 2 / size
    assert (np.abs(shares.mean(0) - mean) <= error).all()
    np.testing.assert_allclose(shares.var(0), second - mean**2, rtol=0.06)


def test_a_missing_modality_gets_no_tokens_and_the_others_share_them():
  selected, mixture = golden_mixture()
  rng = np.random.default_rng(1)
  for _ in range(100):
    seen, predicted = budgets.sample_budgets(
      mixture,
      selected,
      rng,
      inputs={'coords', 'weather_demo'},
      targets={'weather_demo'},
    )
    assert sum(seen.values())  # The component of raw pixels is not drawn.
    assert {name for name, n in seen.items() if n} <= {'coords', 'weather_demo'}
    assert {name for name, n in predicted.items() if n} == {'weather_demo'}


def test_least_budgets_are_met():
  selected = tuple(modality(name, 100) for name in 'ab')
  mixture = budgets.Mixture(
    {'a': [0.5], 'b': [0.5]},
    {'a': [0.5], 'b': [0.5]},
    num_inputs=(20, 30),
    num_targets=(20, 20),
    min_tokens={'a': 4},
  )
  rng = np.random.default_rng(2)
  draws = [budgets.sample_budgets(mixture, selected, rng) for _ in range(200)]
  assert min(draw[side]['a'] for draw in draws for side in (0, 1)) >= 4
  totals = {sum(draw[0].values()) for draw in draws}
  assert min(totals) == 20 and max(totals) == 30


def test_targets_of_an_image_fit_beside_what_is_seen():
  selected = (modality('a', 16), modality('s', 12, 'series'))
  mixture = budgets.Mixture(
    {'a': [1.0], 's': [1.0]},
    {'a': [1.0], 's': [1.0]},
    num_inputs=(20, 20),
    num_targets=(20, 20),
  )
  rng = np.random.default_rng(3)
  draws = [budgets.sample_budgets(mixture, selected, rng) for _ in range(200)]
  assert max(seen['a'] + predicted['a'] for seen, predicted in draws) == 16
  assert max(seen['s'] + predicted['s'] for seen, predicted in draws) > 12


def test_mixtures_that_do_not_fit_together_raise():
  with pytest.raises(ValueError, match='one number for each component'):
    budgets.Mixture({'a': [1.0]}, {'a': [1.0, 2.0]})
  with pytest.raises(ValueError, match='same modalities'):
    budgets.Mixture({'a': [1.0]}, {'b': [1.0]})


def random_grids(selected, rng):
  """A full-grid masked example of `selected`, as the reference makes it."""
  grids = {}
  for m in selected:
    n, k = rng.integers(0, m.max_tokens + 1, 2)
    if m.is_sequence:
      ids = np.append(rng.integers(206, 706, m.max_tokens - 2), modalities.EOS)
      grids[m.name] = masking.mask_sequence(
        ids, m.max_tokens, n, k, 'random', rng
      )
    else:
      masks = masking.mask_image(m.max_tokens, n, min(k, m.max_tokens - n), rng)
      grids[m.name] = {'tensor': rng.integers(0, 99, m.max_tokens), **masks}
  return grids


def test_no_slot_is_lost_or_doubled():
  selected = (
    modality('a', 16),
    modality('b', 9),
    modality('c', 12, 'series', vocab_size=706),
  )
  rng = np.random.default_rng(3)
  for _ in range(200):
    grids = random_grids(selected, rng)
    slots = masking.pack(grids, selected, 40, 40)
    for i, m in enumerate(selected):
      grid = grids[m.name]
      for side, mask, key in (
        ('encoder', 'input_mask', 'code'),
        ('decoder', 'target_mask', 'target'),
      ):
        actual = slots[side]['modality'] == i
        shown = ~grid[mask]
        expected = grid['tensor'][shown]
        positions = np.flatnonzero(shown)
        if m.is_sequence:
          expected = expected[1:] if side == 'decoder' else expected
          positions = np.arange(len(expected))
        np.testing.assert_array_equal(slots[side][key][actual], expected)
        np.testing.assert_array_equal(
          slots[side]['position'][actual], positions
        )
      if not m.is_sequence:
        assert not (~grid['input_mask'] & ~grid['target_mask']).any()


def test_the_sequence_can_be_put_together_again_from_both_sides():
  rng = np.random.default_rng(4)
  ids = np.arange(300, 360)
  for keep in np.linspace(0, 1, 50):
    seen, to_predict, sentinels = masking.mask_spans(
      ids, rng.random(len(ids)) > keep
    )
    np.testing.assert_array_equal(sentinels, np.flatnonzero(to_predict < 206))
    runs = {run[0]: run[1:] for run in np.split(to_predict, sentinels)[1:]}
    whole = np.concatenate([runs.get(i, [i]) for i in seen])
    np.testing.assert_array_equal(whole, ids)


def test_missing_measurements_are_inputs_but_not_trained_on():
  series = modality('s', 6, 'series', vocab_size=706)
  ids = np.array([300, modalities.NULL, 301, modalities.NULL, modalities.EOS])
  grid = masking.mask_sequence(ids, 6, 0, 6, 'random', np.random.default_rng(0))
  decoder = masking.pack({'s': grid}, (series,), 8, 8)['decoder']
  np.testing.assert_array_equal(decoder['target'][:5], ids)
  np.testing.assert_array_equal(
    decoder['trainable'], [True, False, True, False, True] + [False] * 3
  )


def test_positions_in_a_sequence_are_ranks():
  text = modality('t', 3, 'text')
  hidden = np.array([True, False, True, False, False, False, True])
  grid = {
    'tensor': np.arange(7),
    'input_mask': hidden,
    'target_mask': hidden,
    'decoder_attention_mask': (~hidden).astype(np.int32),
  }
  slots = masking.pack({'t': grid}, (text,), 5, 3)
  np.testing.assert_array_equal(slots['encoder']['code'], [1, 3, 4, 5, 0])
  np.testing.assert_array_equal(slots['encoder']['position'], [0, 1, 2, 3, 0])
  # Index 1 is a target that no target follows: it is not an input.
  np.testing.assert_array_equal(slots['decoder']['code'], [3, 4, 0])
  np.testing.assert_array_equal(slots['decoder']['target'], [4, 5, 0])
  np.testing.assert_array_equal(slots['decoder']['position'], [1, 2, 0])


def test_patches_hold_the_pixels_row_by_row_with_the_channel_fastest():
  image = modality('i', 6, 'image', ('r', 'g'), vocab_size=0)
  pixels = np.random.default_rng(5).integers(-9, 9, (40, 60, 2), np.int16)
  crop = pixels[3:35, 5:53]  # Not contiguous, as a crop is.
  hidden = np.array([True, False, True, True, False, True])
  grids = {'i': {'tensor': crop, 'input_mask': hidden}}
  patches = masking.pack(grids, (image,), 4, 4)['encoder']['patches']['i']
  assert patches.shape == (4, 512) and patches.dtype == np.int16
  np.testing.assert_array_equal(patches[0], crop[:16, 16:32].ravel())
  np.testing.assert_array_equal(patches[1], crop[16:, 16:32].ravel())
  assert not patches[2:].any()


def golden_case(name):
  load = safetensors.numpy.load_file
  folder = DATA / 'terramind'
  config = json.loads((folder / f'{name}.json').read_text())
  selected = tuple(
    modality(
      key,
      info['max_tokens'],
      'image' if info['num_channels'] else KINDS[info['type']],
      ('x',) * (info['num_channels'] or 1),
      info['vocab_size'] or 0,
    )
    for key, info in config['modalities'].items()
  )
  return (
    config,
    selected,
    load(folder / f'{name}.io.safetensors'),
    load(folder / f'{name}.weights.safetensors'),
  )


def golden_grids(arrays, selected, sample):
  grids = {}
  for m in selected:
    grids[m.name] = {
      key: arrays[f'inputs/{m.name}/{key}'][sample]
      for key in (
        'tensor',
        'input_mask',
        'target_mask',
        'decoder_attention_mask',
      )
    }
    if m.kind == 'image':
      tensor = grids[m.name]['tensor'].transpose(1, 2, 0)
      grids[m.name]['tensor'] = tensor
  return grids


@pytest.mark.parametrize('case', ['encdec_swiglu', 'encdec_gelu'])
@pytest.mark.parametrize('prefix', ['', 'truncated_'])
def test_slots_equal_the_selection_of_the_reference(case, prefix):
  config, selected, arrays, _ = golden_case(case)
  sizes = config['truncated'] if prefix else config
  ids = np.array([config['modalities'][m.name]['id'] for m in selected] + [-1])
  outputs = {
    key.removeprefix(f'outputs/{prefix}'): value
    for key, value in arrays.items()
    if key.startswith(f'outputs/{prefix}')
  }
  for sample in range(config['batch']):
    slots = masking.pack(
      golden_grids(arrays, selected, sample),
      selected,
      sizes['num_encoder_tokens'],
      sizes['num_decoder_tokens'],
    )
    for side, short in (('encoder', 'enc'), ('decoder', 'dec')):
      np.testing.assert_array_equal(
        ids[slots[side]['modality']], outputs[f'{short}_mod_mask'][sample]
      )
      np.testing.assert_array_equal(
        slots[side]['modality'] < 0, outputs[f'{short}_mask'][sample, 0]
      )
    decoder = slots['decoder']
    np.testing.assert_array_equal(
      decoder['target'], outputs['target_ids'][sample]
    )
    same = decoder['modality'][:, None] == decoder['modality']
    within = np.arange(len(same)) < np.cumsum(decoder['attention'])[:, None]
    real = decoder['modality'] >= 0
    np.testing.assert_array_equal(
      ~(same & within)[real], outputs['dec_attention_mask'][sample][real]
    )


@pytest.mark.parametrize('case', ['encdec_swiglu', 'encdec_gelu'])
def test_slots_embed_as_the_selected_tokens_of_the_reference(case):
  config, selected, arrays, weights = golden_case(case)
  for sample in range(config['batch']):
    slots = masking.pack(
      golden_grids(arrays, selected, sample),
      selected,
      config['num_encoder_tokens'],
      config['num_decoder_tokens'],
    )
    for side, short in (('encoder', 'enc'), ('decoder', 'dec')):
      for slot, index in enumerate(slots[side]['modality']):
        if index < 0:
          continue
        name = selected[index].name
        module = f'{side}_embeddings.{name}'
        emb = weights[f'{module}.pos_emb'][
          0, slots[side]['position'][slot]
        ] + weights[f'{module}.mod_emb'].reshape(-1)
        np.testing.assert_allclose(
          arrays[f'outputs/{short}_emb'][sample, slot], emb, atol=1e-5
        )
        if selected[index].kind == 'image':
          patch = slots['encoder']['patches'][name][slot]
          content = weights[f'{module}.proj.weight'] @ patch
        elif side == 'decoder' and not selected[index].is_sequence:
          content = weights['mask_token'].reshape(-1)
        else:
          content = weights[f'{module}.token_emb.weight'][
            slots[side]['code'][slot]
          ]
        np.testing.assert_allclose(
          arrays[f'outputs/{short}_tokens'][sample, slot], content, atol=1e-4
        )
