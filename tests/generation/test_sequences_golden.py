"""Autoregressive generation against the recorded reference."""

import functools
import pathlib

import jax
import numpy as np
from safetensors import numpy as safetensors

from fusion_jax.data import masking
from fusion_jax.generation import sequences
from tests import golden_terramind

_RECORD = pathlib.Path(__file__).parents[1] / 'testdata' / 'generation'
_SENTINELS = 20  # Of the small vocabulary, ids 4..23.
_SEEN = 1 + 16 + 16  # [S_1], codes of Sentinel-1, patches of Sentinel-2.


def conditions(record, case, place):
  """Encoder slots of one place: the empty sequence and two images."""
  grids = {
    'coords': {
      name: record[f'inputs/empty_seq_target/{name}'][place]
      for name in ('tensor', 'input_mask')
    }
  }
  image = np.moveaxis(record['inputs/cond/untok_sen2l2a@224'][place], 0, -1)
  for name, tensor in (
    ('tok_sen1grd@224', record['inputs/cond/tok_sen1grd@224'][place]),
    ('untok_sen2l2a@224', image),
  ):
    grids[name] = {'tensor': tensor, 'input_mask': np.zeros(16, bool)}
  return masking.pack_inputs(grids, case.modalities, _SEEN)


def test_greedy_coordinates_equal_the_reference():
  record = safetensors.load_file(_RECORD / 'generation.safetensors')
  case = golden_terramind.load('encdec_swiglu')
  backbone = golden_terramind.make_backbone(case)
  params = golden_terramind.params(
    case, backbone, golden_terramind.make_batch(case)
  )
  slots = jax.tree.map(
    lambda *rows: np.stack(rows),
    *(conditions(record, case, i) for i in range(3)),
  )
  assert (slots['modality'] >= 0).all()
  decode = jax.jit(
    functools.partial(
      sequences.decode,
      backbone,
      target=sequences.Target(index=0, length=3, stops=True),
      sampling=sequences.GREEDY,
    )
  )
  codes = decode(params, slots, jax.random.key(0))
  run, length = sequences.run_of_first_sentinel(codes, _SENTINELS)
  # The recorded runs are as long as the longest one; the others are padded.
  width = record['outputs/seq_greedy_tokens'].shape[1]
  assert length.max() == width
  np.testing.assert_array_equal(
    run[:, :width], record['outputs/seq_greedy_tokens']
  )
  np.testing.assert_array_equal(
    np.arange(width)[None] >= length[:, None],
    record['outputs/seq_greedy_input_mask'],
  )
