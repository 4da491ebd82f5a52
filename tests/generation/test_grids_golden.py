"""Generation of grids against the recorded reference.

The record is of the reference's sampler (`GenerationSampler`), whose steps the
`*_generate` models of that commit call; chained targets are the sampler's, too:
those models feed nothing back.
"""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from fusion_jax.data import masking
from fusion_jax.generation import grids
from fusion_jax.ops import decoding
from tests import golden_terramind

_RECORD = pathlib.Path(__file__).parents[1] / 'testdata' / 'generation'
S2, S1, LULC = 'untok_sen2l2a@224', 'tok_sen1grd@224', 'tok_lulc@224'
GREEDY = grids.Settings(temperature=0.0)


@pytest.fixture(scope='module')
def golden():
  return safetensors.load_file(_RECORD / 'generation.safetensors')


@functools.cache
def model():
  case = golden_terramind.load('encdec_swiglu')
  backbone = golden_terramind.make_backbone(case)
  batch = golden_terramind.make_batch(case)
  return backbone, golden_terramind.params(case, backbone, batch)


def conditions(golden, coordinates=False):
  """Encoder slots of the three places: two images, and maybe where they are."""
  selected = golden_terramind.load('encdec_swiglu').modalities
  places = []
  for i in range(3):
    tensors = {
      S1: golden[f'inputs/cond/{S1}'][i],
      S2: np.moveaxis(golden[f'inputs/cond/{S2}'][i], 0, -1),
    }
    if coordinates:
      tensors['coords'] = golden['inputs/cond_coords'][i]
    shown = {
      name: {
        'tensor': tensor,
        'input_mask': np.zeros(3 if name == 'coords' else 16, bool),
      }
      for name, tensor in tensors.items()
    }
    places.append(masking.pack_inputs(shown, selected, 35))
  return jax.tree.map(lambda *rows: np.stack(rows), *places)


def greedy(golden, coordinates=False, order=None, **settings):
  settings = dataclasses.replace(GREEDY, **settings)
  run = jax.jit(
    functools.partial(
      grids.generate, model()[0], target=LULC, settings=settings
    )
  )
  keys = grids.example_keys(0, np.arange(3))
  slots = conditions(golden, coordinates)
  return run(model()[1], slots, keys, order=order).reshape(3, 16)


@functools.partial(jax.jit, static_argnums=(0, 4))
def position_logits(backbone, params, slots, positions, guidance):
  return grids.position_logits(
    backbone, params, slots, LULC, positions=positions, guidance=guidance
  )


def logits(golden, positions=None, guidance=()):
  slots = conditions(golden)
  return np.asarray(position_logits(*model(), slots, positions, guidance))


@pytest.mark.parametrize(
  'scheme, coordinates',
  [
    ('maskgit', True),
    pytest.param('roar', False, marks=pytest.mark.slow),
    pytest.param('roar', True, marks=pytest.mark.slow),
    pytest.param('maskgit', False, marks=pytest.mark.slow),
  ],
)
def test_one_greedy_step_is_the_references(golden, scheme, coordinates):
  name = 'roar_one_step_greedy_tokens' + '_with_coords' * coordinates
  codes = greedy(golden, coordinates, scheme=scheme)
  np.testing.assert_array_equal(codes, golden[f'outputs/{name}'])


def test_logits_of_the_first_steps_are_the_references(golden):
  every = logits(golden)
  np.testing.assert_array_equal(
    golden['outputs/maskgit_positions_first_step'][0], np.arange(16)
  )
  np.testing.assert_allclose(
    every, golden['outputs/maskgit_logits_first_step'], rtol=0, atol=1e-4
  )
  positions = golden['outputs/roar_step0_positions'][0]
  few = logits(golden, positions=positions)
  np.testing.assert_allclose(
    few, golden['outputs/roar_step0_logits'], rtol=0, atol=1e-4
  )
  assert np.abs(few - every[:, positions]).max() > 0.01  # Decoded together.


def test_four_greedy_roar_steps_are_the_references(golden):
  order = np.concatenate(
    [golden[f'outputs/roar_step{i}_positions'] for i in range(4)], axis=1
  )
  codes = greedy(golden, num_steps=4, order=order)
  np.testing.assert_array_equal(codes, golden['outputs/roar_step3_tokens'])
  assert (codes != golden['outputs/roar_one_step_greedy_tokens']).any()


@pytest.mark.parametrize(
  'scale, name',
  [
    (2.0, 'scale2'),
    pytest.param(1.0, 'cond', marks=pytest.mark.slow),
    pytest.param(0.0, f'uncond_without_{S2}', marks=pytest.mark.slow),
  ],
)
def test_guided_logits_are_the_references(golden, scale, name):
  ours = logits(golden, guidance=(grids.Guidance((S2,), scale),))
  np.testing.assert_allclose(
    ours, golden[f'outputs/cfg_logits_{name}'], rtol=0, atol=1e-4
  )


def test_a_maskgit_draw_has_the_references_odds_and_keeps_its_positions(golden):
  kept = decoding.keep_likely(logits(golden), top_p=0.8)
  probs = jax.nn.softmax(kept / 0.7)
  recorded = golden['outputs/maskgit_filtered_probs']
  np.testing.assert_allclose(probs, recorded, rtol=0, atol=1e-5)
  samples = golden['outputs/maskgit_draw_samples'][..., None]
  certainty = np.take_along_axis(np.asarray(probs), samples, -1)[..., 0]
  np.testing.assert_allclose(
    certainty, golden['outputs/maskgit_draw_probs'], rtol=0, atol=1e-5
  )
  kept = decoding.most_certain(certainty, np.ones((3, 16), bool), 4)
  np.testing.assert_array_equal(
    np.nonzero(kept)[1].reshape(3, 4),
    golden['outputs/maskgit_selected_indices'],
  )
  # Draws of our own come with the probability they have.
  keys = jax.random.split(jax.random.key(0), (3, 16))
  filtered = decoding.keep_likely(logits(golden), top_p=0.8)
  codes, certainty = decoding.draw(keys, filtered, jnp.float32(0.7))
  expected = np.take_along_axis(recorded, np.asarray(codes)[..., None], -1)
  np.testing.assert_allclose(certainty, expected[..., 0], rtol=0, atol=1e-5)


def test_chained_targets_are_what_the_references_sampler_draws(golden):
  targets = {LULC: GREEDY, 'tok_ndvi@224': GREEDY}
  run = jax.jit(
    functools.partial(
      grids.generate_all, model()[0], targets=targets, chain=True
    )
  )
  keys = grids.example_keys(0, np.arange(3))
  codes = run(model()[1], conditions(golden), keys)
  for name, record in zip(targets, ('first', 'second')):
    np.testing.assert_array_equal(
      codes[name].reshape(3, 16), golden[f'outputs/chained_{record}']
    )
