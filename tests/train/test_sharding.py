"""The mesh, where arrays lie on it, and how batches are split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from fusion_jax.train import sharding

pytestmark = pytest.mark.multi_device


def test_axes_are_auto_and_named():
  mesh = sharding.make_mesh(4)
  assert dict(mesh.shape) == {'data': 2, 'fsdp': 4}
  assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}


def test_mesh_of_some_devices():
  assert sharding.make_mesh(2, jax.devices()[:2]).size == 2


def test_errors_name_what_fits():
  with pytest.raises(
    ValueError,
    match=r'^batch_size=100 does not divide over '
    r'8 devices; try 96\.$',
  ):
    sharding.check_batch_size(100, sharding.make_mesh())
  with pytest.raises(ValueError, match='accumulate=0 .* 1 is the least'):
    sharding.check_batch_size(96, sharding.make_mesh(), 0)
  with pytest.raises(ValueError, match=r'8 devices x 3 micro-batches; try 96'):
    sharding.check_batch_size(100, sharding.make_mesh(), 3)
  with pytest.raises(ValueError, match='batch_size=3 .* try 8'):
    sharding.check_batch_size(3, sharding.make_mesh())
  with pytest.raises(
    ValueError, match='mesh.fsdp=3 does not divide 8 devices; try 2'
  ):
    sharding.make_mesh(3)
  sharding.check_batch_size(96, sharding.make_mesh(), 3)


def test_big_arrays_are_split_on_their_longest_divisible_axis():
  mesh = sharding.make_mesh(4)
  shapes = {
    'tall': (1024, 256),
    'odd': (1025, 1022, 4),
    'small': (8, 8),
    'count': (),
    'none': (1023, 1023),
  }
  state = {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}
  specs = jax.tree.map(lambda s: s.spec, sharding.state_shardings(state, mesh))
  assert specs == {
    'tall': P('fsdp'),
    'odd': P(None, None, 'fsdp'),
    'small': P(),
    'count': P(),
    'none': P(),
  }


def test_placed_batches_keep_their_values_and_use_every_device():
  mesh = sharding.make_mesh(4)
  batch = {'x': np.arange(32).reshape(16, 2), 'y': {'z': np.ones(16, bool)}}
  placed = sharding.place(batch, mesh)
  jax.tree.map(np.testing.assert_array_equal, batch, placed)
  assert {s.data.shape for s in placed['x'].addressable_shards} == {(2, 2)}
  assert len(placed['x'].sharding.device_set) == 8


def test_micro_batches_hold_every_row_once_and_move_none():
  mesh = sharding.make_mesh()
  rows = np.arange(32)
  with jax.set_mesh(mesh):
    split = jax.jit(lambda x: sharding.split_batch(x, 2))
    placed = sharding.place(rows, mesh)
    parts = split(placed)
    program = split.lower(placed).compile().as_text()
  assert parts.shape == (2, 16)
  np.testing.assert_array_equal(np.sort(np.ravel(parts)), rows)
  assert 'all-to-all' not in program and 'all-gather' not in program
