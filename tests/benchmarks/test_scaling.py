"""Tests of what is read from programs and derived from it."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import scaling, scaling_programs
from fusion_jax.train import collectives, sharding


def read(function, *shapes):
  """FLOPs and bytes of the products of a function, of one of two devices."""
  mesh = sharding.make_mesh(1, jax.devices()[:2])
  rows = sharding.batch_sharding(mesh)
  first, *others = shapes
  arguments = [jax.ShapeDtypeStruct(*first, sharding=rows)]
  arguments += [
    jax.ShapeDtypeStruct(*x, sharding=sharding.replicated(mesh)) for x in others
  ]
  with jax.set_mesh(mesh):
    lowered = jax.jit(function).lower(*arguments)
  return scaling_programs.products(collectives.compile_program(lowered)[1])


def test_products_in_a_loop_count_once_a_trip():
  def function(x, weights):
    return jax.lax.scan(lambda x, w: (x @ w, None), x, weights)[0]

  flops, num_bytes = read(
    function, ((8, 16), jnp.bfloat16), ((3, 16, 16), jnp.bfloat16)
  )
  assert flops == 3 * 2 * 4 * 16 * 16  # Four rows on each device.
  assert num_bytes == 3 * 2 * (4 * 16 + 16 * 16 + 4 * 16)


def test_convolutions_count_as_products():
  def function(images, kernel):
    return jax.lax.conv_general_dilated(
      images, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  flops, num_bytes = read(
    function, ((2, 8, 8, 5), jnp.float32), ((3, 3, 5, 7), jnp.float32)
  )
  assert flops == 2 * (8 * 8 * 7) * (3 * 3 * 5)
  assert num_bytes == 4 * (8 * 8 * 5 + 3 * 3 * 5 * 7 + 8 * 8 * 7)


def make_line():
  """A line with 10 bytes of state, 2 of batch and 3 of temporaries each."""
  low, high = (
    {
      'parameters': 5,
      'arguments': 10 + 2 * n,
      'temporaries': 4 + 3 * n,
      'flops': 100 + 50 * n,
      'product_bytes': 7 * n,
    }
    for n in (8, 32)
  )
  return scaling.Line(low, high, (8, 32), 1, ((1000.0, 20.0, 64.0),))


def test_the_largest_number_of_examples_fits_and_one_more_does_not():
  line = make_line()
  chip = scaling.CHIPS['A100'].__class__('chip', 1.0, 1000, 1.0, 1.0, '')
  count = line.largest(chip)
  assert line.memory(count) <= scaling.USABLE * 1000 < line.memory(count + 1)


def test_blocks_of_heads_beyond_the_first_are_added():
  line = make_line()
  assert line.flops(2) == 200  # 128 targets are the block that is counted.
  assert line.flops(5) == 350 + 2 * 1000
  assert line.num_bytes(5) == 35 + 2 * 20 + 5 * 32


def test_a_ring_between_nodes_is_as_fast_as_the_share_of_the_network():
  machine = scaling.Machine('two nodes', 'A100', 16, 8, 2)
  within = {'collectives': {'all-gather': {'8': 8e9}}}
  between = {'collectives': {'all-reduce': {'2': 1e9, '16': 5.0}}}
  moved = scaling.transfers(machine, within, between)
  assert moved['within', 'all-gather'] == (8e9, pytest.approx(7e9 / 300e9))
  assert moved['between nodes', 'all-reduce'] == (
    1e9,
    pytest.approx(1e9 / 12.5e9),  # Twice, of half of the bytes.
  )
