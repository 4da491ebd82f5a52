"""Generation of grids: its distribution, and what it may depend on."""

import functools
import itertools

import jax
import numpy as np
import pytest
import scipy.special
import scipy.stats

from fusion_jax.generation import grids
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.train import collectives, sharding
from tests.generation import tiny_grids as tiny

LULC, NDVI = tiny.LULC, tiny.NDVI


def filtered(logits, settings):
  """Probabilities to draw from, by brute force over the sorted codes."""
  probs = np.zeros(len(logits))
  order = sorted(range(len(logits)), key=lambda i: -logits[i])
  kept = order[: settings.top_k] if settings.top_k else order
  shares = scipy.special.softmax(logits[kept])
  mass, allowed = 0.0, []
  for code, share in zip(kept, shares):
    allowed.append(code)
    mass += share
    if settings.top_p and mass > settings.top_p:
      break
  probs[allowed] = scipy.special.softmax(logits[allowed] / settings.temperature)
  return probs


def joint(model, settings):
  """The exact distribution of both codes of a grid of 1 x 2, [3, 3]."""
  codes = range(3)
  cases = [[[-1, -1]], [[-1, -2]], [[-2, -1]]]
  cases += [[[c, -1]] for c in codes] + [[[-1, c]] for c in codes]
  together, first, second, *rest = (
    [filtered(row, settings) for row in rows]
    for rows in tiny.logits_of(*model, [(tiny.INPUTS, case) for case in cases])
  )
  second_then = np.stack([rows[0] for rows in rest[:3]])  # [first, second].
  first_then = np.stack([rows[0] for rows in rest[3:]])  # [second, first].
  if settings.num_steps == 1:
    return np.outer(*together)
  if settings.scheme == 'roar':
    return (
      first[0][:, None] * second_then + (second[0][:, None] * first_then).T
    ) / 2
  total = np.zeros((3, 3))  # MaskGIT keeps the more certain of two draws.
  for a, b in itertools.product(codes, codes):
    odds = together[0][a] * together[1][b]
    if together[0][a] > together[1][b]:
      total[a] += odds * second_then[a]
    else:
      total[:, b] += odds * first_then[b]
  return total


@pytest.mark.parametrize(
  'settings',
  [
    pytest.param(grids.Settings(top_p=0.0), marks=pytest.mark.slow),
    grids.Settings('maskgit', top_p=0.0),
    grids.Settings('roar', 2, top_p=0.0, temperature=1.5),
    grids.Settings('maskgit', 2, top_k=2, temperature=0.7),
    pytest.param(
      grids.Settings('roar', 2, top_p=0.6, temperature=2.0),
      marks=pytest.mark.slow,
    ),
  ],
  ids=['roar1', 'maskgit1', 'roar2', 'maskgit2-topk', 'roar2-topp'],
)
def test_draws_follow_the_models_distribution(settings):
  model = tiny.make(grid=(1, 2))
  expected = joint(model, settings)
  np.testing.assert_allclose(expected.sum(), 1, rtol=1e-5)
  codes = tiny.draw(
    model,
    tiny.show(model[0], [tiny.INPUTS] * 2),
    settings=settings,
    num_samples=2_000,
  ).reshape(2, -1, 2)
  assert (codes[0] != codes[1]).any()  # Equal examples have their own noise.
  codes = codes.reshape(-1, 2)
  counts = np.zeros((3, 3))
  np.add.at(counts, tuple(codes.T), 1)
  possible = expected > 0
  assert possible.sum() >= 4 and not counts[~possible].any()
  assert expected.max() < 0.9
  odds = expected[possible] / expected.sum()
  assert scipy.stats.chisquare(counts[possible], 4_000 * odds).pvalue > 1e-3


def test_a_grid_that_is_not_square_has_its_rows_and_columns():
  # More positions than the 4 of the square grid that the model was built for.
  backbone, params = tiny.make(grid=(2, 3))
  places = params | {  # Only its position tells one position from another.
    'mask_token': 0 * params['mask_token'],
    'decoder_embeddings': jax.tree.map(
      lambda x: 5 * x, params['decoder_embeddings']
    ),
  }
  shown = {'coords': tiny.INPUTS['coords']}
  (logits,) = tiny.logits_of(
    backbone, places, [(shown, np.full((2, 3), -1))], target=NDVI
  )
  expected = logits.argmax(-1).reshape(2, 3)
  assert len(np.unique(expected)) > 1
  codes = tiny.draw(
    (backbone, places),
    tiny.show(backbone, [shown]),
    NDVI,
    settings=grids.Settings(temperature=0.0),
  )
  np.testing.assert_array_equal(codes[0, 0], expected)


@pytest.mark.multi_device
@pytest.mark.parametrize(
  'settings',
  [
    pytest.param(grids.Settings(), marks=pytest.mark.slow),
    grids.Settings(
      'maskgit',
      3,
      'maskgit',
      2.0,
      'linear',
      top_k=0.9,
      guidance=(grids.Guidance(('coords',), 1.5),),
    ),
    pytest.param(
      grids.Settings(num_steps=2, schedule='cosine'),
      marks=pytest.mark.slow,
    ),
  ],
  ids=['one', 'maskgit3-guided', 'roar2'],
)
def test_the_seed_gives_the_same_codes_in_any_batch_and_on_any_mesh(settings):
  model = tiny.make()
  slots = tiny.show(model[0], tiny.examples(8))
  kwargs = {'settings': settings, 'num_samples': 2}
  codes = tiny.draw(model, slots, seed=3, **kwargs)
  assert codes.shape == (8, 2, 2, 2)
  alone = jax.tree.map(lambda x: x[[5, 2]], slots)
  some = tiny.draw(model, alone, seed=3, numbers=[5, 2], **kwargs)
  np.testing.assert_array_equal(some, codes[[5, 2]])
  mesh = sharding.make_mesh(4)
  keys = grids.example_keys(3, np.arange(8))
  with jax.set_mesh(mesh):
    run, transfers = collectives.compile_step(
      tiny.compiled(model[0], LULC, **kwargs).lower(
        model[1], sharding.place(slots, mesh), keys
      )
    )
    spread = run(model[1], sharding.place(slots, mesh), keys)
  assert not transfers  # No device waits for another one.
  assert len(spread.sharding.device_set) == 8
  np.testing.assert_array_equal(spread, codes)
  other = tiny.draw(model, slots, seed=4, **kwargs)
  assert (other != codes).any()
  assert (codes[:, 0] != codes[:, 1]).any()


def test_the_second_of_a_chain_depends_on_the_first():
  model = tiny.make()
  example = {'coords': tiny.INPUTS['coords']}
  settings = grids.Settings(num_steps=2)
  slots, keys = tiny.show(model[0], [example]), grids.example_keys(0, [0])

  @functools.partial(jax.jit, static_argnums=0)
  def both(chain):
    return grids.generate_all(
      *model,
      slots,
      keys,
      {'LULC': grids.REFERENCE, 'NDVI': settings},
      num_samples=3,
      chain=chain,
    )

  def second(first):
    shown = tiny.show(model[0], [example | {LULC: first}])
    return tiny.draw(model, shown, NDVI, settings=settings, num_samples=3)[0]

  chained, apart = both(True), both(False)
  np.testing.assert_array_equal(chained['LULC'], apart['LULC'])
  for s in range(3):  # Sample s sees sample s.
    given = np.asarray(chained['LULC'][0, s])
    np.testing.assert_array_equal(chained['NDVI'][0, s], second(given)[s])
  replaced = [second(np.full((2, 2), c)) for c in range(3)]
  assert (replaced[0] != replaced[1]).any()
  assert (replaced[1] != replaced[2]).any()
  np.testing.assert_array_equal(
    apart['NDVI'],
    tiny.draw(model, slots, 'NDVI', settings=settings, num_samples=3),
  )
  assert (chained['NDVI'] != apart['NDVI']).any()


def test_each_of_several_conditions_is_strengthened_alone():
  backbone, params = tiny.make()
  hidden = np.full((2, 2), -1)
  guided = ('coords', 'untok_dem@224')  # A sequence and pixels.
  rest = {tiny.DEM: tiny.INPUTS[tiny.DEM]}
  cases = [(rest, hidden)] + [
    (rest | {name: tiny.INPUTS[name]}, hidden) for name in guided
  ]
  without, *alone = tiny.logits_of(backbone, params, cases)
  expected = without + sum(
    scale * (logits - without) for scale, logits in zip((2.0, -0.5), alone)
  )
  ours = jax.jit(
    functools.partial(
      grids.position_logits,
      backbone,
      target='LULC',
      guidance=(
        grids.Guidance(('coords',), 2.0),
        grids.Guidance(('DEM',), -0.5),
      ),
    )
  )(params, tiny.show(backbone, [tiny.INPUTS]))
  np.testing.assert_allclose(ours[0], expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_every_knob_changes_the_result_and_nothing_else_does():
  model = tiny.make()
  slots = tiny.show(model[0], tiny.examples(16))
  guidance = (grids.Guidance(('coords',), 3.0),)
  two = {'num_steps': 2, 'top_p': 0.0}
  results = {
    str(knobs): tiny.draw(model, slots, settings=grids.Settings(**knobs))
    for knobs in (
      {},
      {'top_p': 0.0},
      {'top_p': 0.0, 'top_k': 1},
      {'temperature': 3.0},
      {'guidance': guidance},
      two,
      two | {'num_steps': 3},
      two | {'num_steps': 3, 'schedule': 'maskgit'},
      two | {'scheme': 'maskgit'},
      two | {'temperature_schedule': 'linear'},
      two | {'temperature_schedule': 'onex:0.1:0.5'},
    )
  }
  for (a, first), (b, second) in itertools.combinations(results.items(), 2):
    assert (first != second).any(), (a, b)
  for knobs in (  # One step has no positions in any order.
    {'scheme': 'maskgit'},
    {'schedule': 'cosine'},
    {'guidance': (grids.Guidance(('coords',), 1.0),)},
    {'temperature_schedule': 'linear'},
  ):
    codes = tiny.draw(model, slots, settings=grids.Settings(**knobs))
    np.testing.assert_array_equal(codes, results['{}'], err_msg=str(knobs))


def encoder_rows(monkeypatch, run):
  """Number of rows and of slots in each call of the encoder's layers."""
  calls = []
  encode = backbone_lib.Backbone.encode_embedded

  def counted(self, *embedded):
    calls.append(embedded[0].shape[:2])
    return encode(self, *embedded)

  with monkeypatch.context() as patch:
    patch.setattr(backbone_lib.Backbone, 'encode_embedded', counted)
    jax.eval_shape(run)
  return calls


def test_the_encoder_runs_once_a_step_and_no_more_often(monkeypatch):
  model = tiny.make()
  slots = tiny.show(model[0], tiny.examples(3), num_slots=11)
  inputs = *model, slots, grids.example_keys(0, np.arange(3))
  one, many = grids.Settings(), grids.Settings('maskgit', 3)
  guided = grids.Settings(guidance=(grids.Guidance(('coords',), 3.0),))

  def calls(function, *args, **kwargs):
    run = functools.partial(function, *inputs, *args, num_samples=5, **kwargs)
    return encoder_rows(monkeypatch, run)

  assert calls(grids.generate, 'LULC', one) == [(3, 11)]
  assert calls(grids.generate, 'LULC', guided) == [(6, 11)]
  # Traced once: the body of the loop over steps.
  assert calls(grids.generate, 'LULC', many) == [(15, 11 + 4)]
  targets = {'LULC': one, 'NDVI': one}
  assert calls(grids.generate_all, targets) == [(3, 11)]
  assert calls(grids.generate_all, targets, chain=True) == [(3, 11), (15, 15)]


def test_guidance_works_where_it_hides_every_input():
  model = tiny.make()
  example = {'coords': tiny.INPUTS['coords']}
  slots = tiny.show(model[0], [example])
  guidance = (grids.Guidance(('coords',), -9.0),)
  (without, alone) = tiny.logits_of(
    *model, [(shown, np.full((2, 2), -1)) for shown in ({}, example)]
  )
  logits = jax.jit(
    functools.partial(
      grids.position_logits, model[0], target=LULC, guidance=guidance
    )
  )(model[1], slots)
  expected = without - 9 * (alone - without)
  np.testing.assert_allclose(logits[0], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
  'wrong, message',
  [
    ({'num_steps': 0}, 'num_steps=0: give a whole number'),
    ({'num_steps': 1.5}, 'num_steps=1.5: give a whole number'),
    ({'temperature': -0.1}, 'temperature=-0.1 is negative'),
    ({'temperature': float('nan')}, 'temperature=nan'),
    ({'top_p': 1.1}, 'top_p=1.1 is not a probability'),
    ({'top_k': -1}, 'top_k=-1'),
    ({'top_k': 1.5}, 'top_k=1.5'),
    ({'scheme': 'mask'}, "scheme='mask' is unknown; choose one of"),
    ({'schedule': 'sine'}, "schedule='sine' is unknown; choose one of"),
    ({'temperature_schedule': 'onex:a'}, "'onex:a' is unknown; choose one of"),
    (
      {'guidance': (grids.Guidance(('DEM',), 2.0),) * 2},
      'names an input twice',
    ),
  ],
)
def test_impossible_settings_raise_in_one_line(wrong, message):
  with pytest.raises(ValueError, match=message) as error:
    grids.Settings(**wrong)
  assert '\n' not in str(error.value)


def test_guidance_without_a_condition_raises():
  with pytest.raises(ValueError, match='needs a tuple with one input or more'):
    grids.Guidance((), 2.0)
  with pytest.raises(ValueError, match='needs a tuple'):
    grids.Guidance('S2L2A', 2.0)
  with pytest.raises(ValueError, match='scale=nan'):
    grids.Guidance(('S2L2A',), float('nan'))


def test_impossible_requests_raise_in_one_line():
  backbone, params = tiny.make(unseen=(NDVI,))
  slots = tiny.show(backbone, [{'coords': tiny.INPUTS['coords']}])
  keys = grids.example_keys(0, [0])
  shown = tiny.show(backbone, [{LULC: tiny.INPUTS[tiny.DEM] % 3}])
  one = grids.REFERENCE

  def guided(name):
    return grids.Settings(guidance=(grids.Guidance((name,), 2.0),))

  def generate(slots=slots, keys=keys, target='LULC', *args, **kwargs):
    grids.generate(backbone, params, slots, keys, target, *args, **kwargs)

  def several(targets, **kwargs):
    grids.generate_all(backbone, params, slots, keys, targets, **kwargs)

  order = np.arange(4)
  for request, message in (
    (lambda: generate(target='S1GRD'), "'S1GRD' as an image; it can generate"),
    (lambda: generate(target='coords'), "'coords' as an image"),
    (lambda: generate(target='untok_dem@224'), 'as an image'),
    (lambda: generate(target='caption'), 'Captions are not supported'),
    (lambda: generate(num_samples=0), 'num_samples=0'),
    (lambda: generate(keys=grids.example_keys(0, [0, 1])), r'\(2,\) keys'),
    (
      lambda: generate(slots, keys, 'NDVI', grids.Settings(num_steps=2)),
      'cannot see .*; set num_steps=1',
    ),
    (
      lambda: generate(slots, keys, 'LULC', guided('DEM')),
      "'DEM' lacks its condition: the inputs are .'coords'.",
    ),
    (lambda: generate(slots, keys, 'LULC', guided('NDVI')), 'sees only'),
    (lambda: generate(slots=shown), 'already show'),
    (lambda: generate(order=order[:3]), r'order is \(3,\)'),
    (lambda: generate(order=order * 0), 'each position 0..3 once'),
    (
      lambda: generate(
        slots, keys, 'LULC', grids.Settings('maskgit'), order=order
      ),
      'has no order of positions',
    ),
    (lambda: several({}), 'No target'),
    (lambda: several({'LULC': one, LULC: one}), 'same modality'),
    (lambda: several({'NDVI': one, 'LULC': one}, chain=True), 'put such a'),
  ):
    with pytest.raises(ValueError, match=message) as error:
      request()
    assert '\n' not in str(error.value)
