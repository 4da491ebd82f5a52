"""Products and look-ups whose gradients are summed in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.ops import partitioning
from fusion_jax.train import sharding

RNG = np.random.default_rng(0)


def test_a_mixed_product_rounds_once_and_its_kernel_gradient_is_float32():
  rows = jnp.asarray(RNG.normal(size=(500, 8)), jnp.bfloat16)
  kernel = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32)
  weight = jnp.asarray(RNG.normal(size=(500, 3)), jnp.bfloat16)

  def loss(rows, kernel):
    outputs = partitioning.product(rows, kernel, jnp.bfloat16)
    assert outputs.dtype == jnp.bfloat16
    return jnp.sum(outputs.astype(jnp.float32) * weight)

  value, (d_rows, d_kernel) = jax.value_and_grad(loss, (0, 1))(rows, kernel)
  rows64, weight64 = np.asarray(rows, float), np.asarray(weight, float)
  rounded = np.asarray(kernel.astype(jnp.bfloat16), float)
  np.testing.assert_allclose(
    value, np.sum(rows64 @ rounded * weight64), rtol=0.01
  )
  assert d_kernel.dtype == jnp.float32 and d_rows.dtype == jnp.bfloat16
  np.testing.assert_allclose(
    d_kernel, rows64.T @ weight64, rtol=1e-5, atol=1e-4
  )
  np.testing.assert_allclose(
    d_rows.astype(jnp.float32), weight64 @ rounded.T, rtol=0.01, atol=0.03
  )


def test_a_product_in_float32_is_the_plain_one():
  rows = jnp.asarray(RNG.normal(size=(5, 8)), jnp.float32)
  kernel = jnp.asarray(RNG.normal(size=(8, 3)), jnp.float32)
  np.testing.assert_array_equal(
    partitioning.product(rows, kernel, jnp.float32), rows @ kernel
  )


@pytest.mark.multi_device
@pytest.mark.parametrize('fsdp', [0, 1, 4, 8])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_rows_and_gradients_of_a_table_are_the_same_on_every_mesh(fsdp, dtype):
  table = RNG.normal(size=(1024, 512)).astype(np.float32)
  codes = RNG.integers(-1, 4, size=(16, 3))
  codes[codes < 0] = len(table)  # Reads as 0.
  weight = RNG.normal(size=(16, 3, 512)).astype(np.float32)

  def loss(table, codes, weight):
    rows = partitioning.look_up(table, codes, dtype, frozen=2)
    assert rows.dtype == dtype
    return jnp.sum(rows.astype(jnp.float32) * weight), rows

  gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
  if fsdp:
    mesh = sharding.make_mesh(fsdp)
    spec = partitioning.weight_spec(table.shape, mesh)
    assert spec == (jax.P('fsdp') if fsdp > 1 else jax.P())
    placed = jax.device_put(table, jax.NamedSharding(mesh, spec))
    with jax.set_mesh(mesh):
      (_, rows), d_table = gradient(
        placed, *sharding.place((codes, weight), mesh)
      )
  else:
    (_, rows), d_table = gradient(table, codes, weight)
  read = np.concatenate([table, np.zeros((1, 512), np.float32)])[codes]
  np.testing.assert_array_equal(rows, jnp.asarray(read, dtype))
  expected = np.zeros((1025, 512), np.float32)
  cotangent = np.asarray(jnp.asarray(weight, dtype), np.float32)
  np.add.at(expected, codes, cotangent)
  expected[2] = 0  # The frozen row.
  assert d_table.dtype == jnp.float32
  np.testing.assert_allclose(d_table, expected[:1024], rtol=1e-6, atol=1e-6)
