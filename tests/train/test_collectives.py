"""Collectives that are read from a program, and those of a training step."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding

from fusion_jax.train import collectives, sharding
from tests.train import sharded_steps

pytestmark = pytest.mark.multi_device

ROOT = pathlib.Path(__file__).parents[2]
BIG = 2**18  # Elements; smaller arrays are not split.


def read(function, *args, mesh, **options):
  with jax.set_mesh(mesh):
    lowered = jax.jit(function, **options).lower(*args)
    return collectives.compile_step(lowered)[1]


def test_collectives_in_a_loop_count_once_a_trip():
  mesh = sharding.make_mesh(4)

  def body(x, _):
    whole = jax.lax.all_gather(x.astype(jnp.bfloat16), 'fsdp', tiled=True)
    part = jax.lax.psum_scatter(
      whole.astype(jnp.float32), 'fsdp', scatter_dimension=0, tiled=True
    )
    return part, jax.lax.psum(part, 'data').sum()

  def local(x):
    return jax.lax.scan(body, x, None, length=3)

  function = jax.shard_map(
    local,
    in_specs=jax.P('fsdp'),
    out_specs=(jax.P('fsdp'), jax.P()),
    check_vma=False,
  )
  transfers = read(function, jnp.ones((16, 5)), mesh=mesh)
  assert set(transfers) == {
    collectives.Collective('all-gather', 'bf16', (16, 5), 3, 4),
    collectives.Collective('reduce-scatter', 'f32', (16, 5), 3, 4),
    collectives.Collective('all-reduce', 'f32', (4, 5), 3, 2),
  }
  assert collectives.total_bytes(transfers) == 3 * (160 + 320 + 80)
  assert collectives.total_bytes(transfers, 'all-gather') == 3 * 160


def test_a_sum_of_which_devices_take_slices_is_named_so():
  mesh = sharding.make_mesh(8)
  rows, columns = (
    NamedSharding(mesh, jax.P(*x)) for x in (('fsdp',), (None, 'fsdp'))
  )
  x = jax.device_put(jnp.ones((16, 32)), rows)
  (transfer,) = read(lambda x: x.T @ x, x, mesh=mesh, out_shardings=columns)
  assert transfer == collectives.Collective(
    'all-reduce and slice', 'f32', (32, 32), 1, 8
  )


@functools.cache
def steps():
  done = subprocess.run(
    [sys.executable, '-m', 'tests.train.sharded_steps'],
    cwd=ROOT,
    env=os.environ
    | {
      'JAX_PLATFORMS': 'cpu',
      'XLA_FLAGS': '--xla_force_host_platform_device_count=16',
    },
    capture_output=True,
    text=True,
    timeout=600,
    check=False,
  )
  assert not done.returncode, done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def size(collective):
  elements = 1
  for length in collective['shape']:
    elements *= length
  return elements


@pytest.mark.slow
@pytest.mark.parametrize('index', [0, 1])
def test_no_collective_has_the_rows_of_the_global_batch(index):
  step = steps()[0][index]
  examples = sharded_steps.EXAMPLES * step['devices']
  rows = {examples, 128 * examples}
  big = [c for c in step['collectives'] if size(c) >= BIG]
  assert big
  for collective in step['collectives']:
    if size(collective) > 128 * examples:  # Not the numbers of the slots.
      assert not rows & set(collective['shape']), collective


@pytest.mark.slow
@pytest.mark.parametrize('index', [0, 1])
def test_weights_are_gathered_in_bfloat16_and_gradients_summed_in_float32(
  index,
):
  for collective in steps()[0][index]['collectives']:
    if size(collective) >= BIG:
      is_gather = collective['kind'] == 'all-gather'
      assert collective['dtype'] == ('bf16' if is_gather else 'f32')
    if 'reduce' in collective['kind'] and collective['dtype'] != 's32':
      assert collective['dtype'] == 'f32', collective


@pytest.mark.slow
def test_what_a_device_moves_and_keeps_does_not_grow_with_the_devices():
  (small, large), log = steps()
  moved = [
    sum(
      size(c) * c['times'] * (2 if c['dtype'] == 'bf16' else 4)
      for c in step['collectives']
    )
    for step in (small, large)
  ]
  assert moved[1] == pytest.approx(moved[0], rel=0.01)
  assert large['temporaries'] < 1.02 * small['temporaries']
  assert 'Involuntary full rematerialization' not in log
