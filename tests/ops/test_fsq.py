"""FSQ against recorded values of four definitions, and its properties."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.ops import fsq

_FOLDER = pathlib.Path(__file__).parents[1] / 'testdata' / 'fsq'
LEVELS = [
  (8, 8, 8),
  (4, 4, 4, 4),
  (3, 3, 3, 3, 3),
  (8, 8, 8, 8),
  (8, 8, 8, 6, 5),
]
PRESETS = {
  'terramind': fsq.TERRAMIND,
  'paper': fsq.PAPER,
  'google': fsq.GOOGLE,
  'lucidrains': fsq.LUCIDRAINS,
}
near = functools.partial(np.testing.assert_allclose, rtol=0, atol=2e-5)
EVERY_GRID = pytest.mark.parametrize('levels', LEVELS, ids=str)
EVERY_PRESET = pytest.mark.parametrize('preset', PRESETS)


@functools.cache
def golden(levels):
  name = '-'.join(map(str, levels))
  return dict(np.load(_FOLDER / f'fsq_{name}.npz'))


def make(levels, preset):
  return fsq.FSQ(levels, **PRESETS[preset])


def without_tie(array, levels):
  """All values but the one at z = 0, a tie of the paper's even levels."""
  rows = np.array(array).reshape(-1, len(levels))
  rows[0, 0] = 0
  return rows


@EVERY_GRID
@EVERY_PRESET
def test_codes_are_the_references(levels, preset):
  case, quantizer = golden(levels), make(levels, preset)
  codes = quantizer.quantize(case['in_z'])
  if preset == 'paper':
    near(
      without_tie(codes, levels), without_tie(case['paper_quantized'], levels)
    )
  else:
    key = 'sigmoid_codes01' if preset == 'terramind' else f'{preset}_quantized'
    near(codes, case[key])


@EVERY_GRID
@EVERY_PRESET
def test_indices_are_the_references(levels, preset):
  case, quantizer = golden(levels), make(levels, preset)
  indices = quantizer.to_indices(quantizer.quantize(case['in_z']))
  key = {'terramind': 'sigmoid_indices', 'paper': 'paper_tokens'}.get(
    preset, f'{preset}_indices'
  )
  first = 1 if preset == 'paper' else 0  # The tie is in the first vector.
  assert indices.dtype == np.int32
  np.testing.assert_array_equal(
    np.ravel(indices)[first:], case[key].ravel()[first:]
  )


@EVERY_GRID
def test_levels_of_the_paper_are_the_references(levels):
  case, quantizer = golden(levels), make(levels, 'paper')
  near(np.tanh(case['in_z']), case['paper_in_tanh_z'])
  digits = np.round(quantizer.position(case['in_z']))
  np.testing.assert_array_equal(
    without_tie(digits, levels),
    without_tie(case['paper_level_indices'], levels),
  )


@EVERY_GRID
def test_positions_of_google_are_the_references(levels):
  case, quantizer = golden(levels), make(levels, 'google')
  near(
    quantizer.position(case['in_z']) - np.array(levels)[None, None] // 2,
    case['google_bounded'],
  )


@EVERY_GRID
def test_codebook_of_lucidrains_is_the_references(levels):
  case, quantizer = golden(levels), make(levels, 'lucidrains')
  codes = quantizer.from_indices(case['codebook_probe_indices'])
  near(codes, case['lucidrains_codebook_probe'])


@EVERY_GRID
def test_straight_through_gradient_is_the_references(levels):
  case, quantizer = golden(levels), make(levels, 'lucidrains')
  gradient = jax.grad(
    lambda z: jnp.sum(quantizer.quantize(z) * case['in_cotangent'])
  )(case['in_z'])
  np.testing.assert_allclose(
    gradient, case['lucidrains_grad_z'], rtol=1e-4, atol=1e-6
  )


@EVERY_PRESET
def test_gradient_is_that_of_the_bound(preset):
  levels = (8, 8, 8, 6, 5)
  case, quantizer = golden(levels), make(levels, preset)

  def smooth(z):
    ends = quantizer.from_indices(np.array([0, quantizer.num_codes - 1]))
    width = (ends[1] - ends[0])[None, None]
    last = np.array(levels, np.float32)[None, None] - 1
    return jnp.sum(quantizer.position(z) / last * width * case['in_cotangent'])

  expected = jax.grad(smooth)(case['in_z'])
  gradient = jax.grad(
    lambda z: jnp.sum(quantizer.quantize(z) * case['in_cotangent'])
  )(case['in_z'])
  near(gradient, expected)
  assert np.abs(gradient).max() > 0.1


@EVERY_GRID
@EVERY_PRESET
@pytest.mark.parametrize('order', ['first', 'last'])
def test_every_index_comes_back(levels, preset, order):
  quantizer = fsq.FSQ(levels, PRESETS[preset]['bound'], order)
  indices = np.arange(quantizer.num_codes)
  codes = quantizer.from_indices(indices)
  assert len(np.unique(codes, axis=0)) == quantizer.num_codes
  np.testing.assert_array_equal(quantizer.to_indices(codes), indices)


@EVERY_PRESET
def test_every_index_comes_back_under_jit(preset):
  quantizer = make((8, 8, 8, 6, 5), preset)
  indices = np.arange(quantizer.num_codes)
  back = jax.jit(lambda i: quantizer.to_indices(quantizer.from_indices(i)))
  np.testing.assert_array_equal(back(indices), indices)


def test_digits_count_from_the_named_end():
  first = fsq.FSQ((8, 8, 8, 6, 5), 'sigmoid', 'first')
  last = fsq.FSQ((8, 8, 8, 6, 5), 'sigmoid', 'last')
  ones = np.diag(1 / (np.array(first.levels) - 1))
  assert first.to_indices(ones).tolist() == [1, 8, 64, 512, 3072]
  assert last.to_indices(ones).tolist() == [1920, 240, 30, 5, 1]


@EVERY_PRESET
def test_codes_stay_on_the_grid_for_any_latent(preset):
  quantizer = make((8, 5, 2), preset)
  latents = np.linspace(-100, 100, 3 * 999, dtype=np.float32).reshape(-1, 3)
  indices = np.asarray(quantizer.to_indices(quantizer.quantize(latents)))
  assert indices.min() >= 0 and indices.max() < quantizer.num_codes
  near(quantizer.from_indices(indices), quantizer.quantize(latents))


def test_latents_in_bfloat16_give_codes_in_float32():
  codes = make((8, 8), 'paper').quantize(jnp.zeros((3, 2), jnp.bfloat16))
  assert codes.dtype == jnp.float32


@pytest.mark.parametrize('source', PRESETS)
@pytest.mark.parametrize('target', PRESETS)
def test_translated_indices_mean_the_same_levels(source, target):
  one, other = make((8, 6, 5), source), make((8, 6, 5), target)
  indices = np.arange(one.num_codes)
  translated = fsq.translate(indices, one, other)
  # All four codes rise with the level: ranks of codes are levels.
  for channel in range(3):
    ranks = [
      np.unique(q.from_indices(i)[:, channel], return_inverse=True)[1]
      for q, i in ((one, indices), (other, translated))
    ]
    np.testing.assert_array_equal(*ranks)
  np.testing.assert_array_equal(fsq.translate(translated, other, one), indices)


def test_terramind_codes_map_onto_the_papers():
  ours, theirs = make((8, 6, 5), 'paper'), make((8, 6, 5), 'terramind')
  indices = np.arange(ours.num_codes)
  near(
    2 * theirs.from_indices(fsq.translate(indices, ours, theirs)) - 1,
    ours.from_indices(indices),
  )


def test_other_grids_do_not_translate():
  with pytest.raises(ValueError, match='different grids'):
    fsq.translate(
      np.zeros(1, int), make((8, 6), 'paper'), make((6, 8), 'paper')
    )


@pytest.mark.parametrize('indices', [[-1, 3], [0, 64], 64])
def test_ids_outside_the_codebook_raise(indices):
  quantizer = make((8, 8), 'terramind')
  for array in (np.array(indices), jnp.array(indices)):
    with pytest.raises(ValueError, match=r'have ids 0\.\.63'):
      quantizer.from_indices(array)


def test_ids_outside_the_codebook_wrap_under_jit():
  quantizer = make((8, 8), 'terramind')
  codes = jax.jit(quantizer.from_indices)(np.array([66, -1]))
  near(codes, quantizer.from_indices(np.array([2, 63])))


@pytest.mark.parametrize(
  'kwargs, message',
  [
    (dict(levels=(8, 1)), r'levels=\(8, 1\)'),
    (dict(levels=()), 'levels='),
    (dict(levels=(8,), bound='clip'), "bound='clip'"),
    (dict(levels=(8,), order='big'), "order='big'"),
  ],
)
def test_settings_that_do_not_exist_raise(kwargs, message):
  with pytest.raises(ValueError, match=message):
    fsq.FSQ(**kwargs)


def test_channels_in_the_wrong_number_raise():
  quantizer = make((8, 8), 'terramind')
  for method in (quantizer.quantize, quantizer.to_indices):
    with pytest.raises(ValueError, match=r'\(4, 3\) does not end in 2'):
      method(np.zeros((4, 3)))


@pytest.mark.parametrize('xp', [np, jnp])
def test_codebook_use_counts_codes_and_their_spread(xp):
  even = fsq.codebook_use(xp.array([5, 5, 0, 5, 5]))
  assert even['used'] == 4
  near(even['perplexity'], 4)
  skewed = fsq.codebook_use(xp.array([3, 1]))
  near(skewed['perplexity'], np.exp(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)))
  nothing = fsq.codebook_use(xp.zeros(3))
  assert nothing['used'] == 0 and nothing['perplexity'] == 0


@pytest.mark.parametrize(
  'indices', [[1.5], np.array([np.nan]), jnp.ones(2), np.array([True])]
)
def test_ids_that_are_no_integers_raise(indices):
  with pytest.raises(ValueError, match='Ids are integers, not (float|bool)'):
    make((8, 8, 8), 'terramind').from_indices(indices)
