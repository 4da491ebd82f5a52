"""Bins, special ids, and agreement of NumPy with JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.ops import quantize

FIRST = modalities.VALUE_OFFSET


def test_bins_are_half_open_and_the_last_is_closed():
  bins = quantize.Quantizer([0, 1, 2, 3], [0.5, 1.5, 2.5])
  below_one = np.nextafter(np.float32(1), np.float32(0))
  ids = bins.encode(np.array([0, below_one, 1, 2, 3]))
  np.testing.assert_array_equal(ids - FIRST, [0, 0, 1, 2, 2])


def test_values_outside_are_clipped_and_counted():
  bins = quantize.uniform(270, 300)
  values = np.array([-np.inf, 269.9, 270, 300, 300.1, np.inf, np.nan])
  np.testing.assert_array_equal(
    bins.encode(values) - FIRST, [0, 0, 0, 499, 499, 499, -2]
  )
  np.testing.assert_array_equal(
    bins.clipped(values), [True, True, False, False, True, True, False]
  )


@pytest.mark.parametrize(
  'fit', [lambda x: quantize.uniform(x.min(), x.max()), quantize.quantile]
)
def test_every_edge_belongs_to_the_bin_above_it_in_numpy_and_jax(fit):
  rng = np.random.default_rng(0)
  bins = fit(rng.normal(285, 12, 20_000).astype(np.float32))
  expected = FIRST + np.minimum(np.arange(501), 499)
  np.testing.assert_array_equal(bins.encode(bins.edges), expected)
  np.testing.assert_array_equal(
    jax.jit(bins.encode)(jnp.asarray(bins.edges)), expected
  )


def test_numpy_and_jax_agree_on_random_values():
  rng = np.random.default_rng(1)
  values = rng.gamma(0.3, 2, (4, 60)).astype(np.float32)
  values[0, :5] = np.nan
  bins = quantize.quantile(values, has_zero=True)
  ids = bins.encode(values)
  np.testing.assert_array_equal(jax.jit(bins.encode)(jnp.asarray(values)), ids)
  np.testing.assert_array_equal(
    jax.jit(bins.decode)(jnp.asarray(ids)), bins.decode(ids)
  )


def test_missing_is_null_and_dry_is_zero_for_precipitation_only():
  values = np.array([np.nan, -1e-6, 0, 0.0099, 0.01], np.float32)
  wet = quantize.uniform(0.01, 5, has_zero=True)
  np.testing.assert_array_equal(
    wet.encode(values), [modalities.NULL] + [modalities.ZERO] * 3 + [FIRST]
  )
  assert not wet.clipped(values).any()
  assert modalities.ZERO not in quantize.uniform(0.01, 5).encode(values)


def test_specials_decode_to_nan_and_zero_to_zero():
  wet = quantize.uniform(0, 10, has_zero=True)
  values = wet.decode(np.arange(-1, wet.vocab_size + 1))
  np.testing.assert_array_equal(np.isnan(values[: modalities.ZERO + 1]), True)
  assert values[modalities.ZERO + 1] == 0 and np.isnan(values[-1])
  assert np.isnan(quantize.uniform(0, 10).decode(modalities.ZERO))


def test_uniform_decodes_to_bin_centres():
  bins = quantize.uniform(0, 500)
  values = np.arange(500) + 0.25
  np.testing.assert_allclose(bins.decode(bins.encode(values)), values + 0.25)


def test_quantile_bins_hold_equal_shares_and_decode_to_their_medians():
  sample = np.random.default_rng(2).permutation(5_000).astype(np.float32) ** 3
  bins = quantize.quantile(sample)
  ids = bins.encode(sample)
  counts = np.bincount(ids - FIRST, minlength=500)
  assert counts.min() >= 9 and counts.max() <= 11
  for i in (0, 250, 499):
    assert bins.values[i] == np.median(sample[ids == FIRST + i])


def test_repeated_quantiles_leave_empty_bins_that_decode_to_their_edge():
  sample = np.repeat(np.float32([1, 2, 3]), [1_000, 8_000, 1_000])
  bins = quantize.quantile(sample)
  assert (np.diff(bins.edges) == 0).sum() > 400
  ids = bins.encode(sample)
  np.testing.assert_array_equal(bins.decode(ids), sample)
  everything = bins.decode(np.arange(FIRST, FIRST + 500))
  assert np.isfinite(everything).all() and (np.diff(everything) >= 0).all()


def test_round_trip_of_ids_is_exact():
  for bins in (
    quantize.uniform(220, 320),
    quantize.quantile(np.random.default_rng(3).normal(0, 1, 50_000)),
  ):
    ids = np.arange(FIRST, FIRST + 500)
    np.testing.assert_array_equal(bins.encode(bins.decode(ids)), ids)


def test_a_constant_series_can_be_fitted():
  for bins in (quantize.uniform(7, 7), quantize.quantile(np.full(10, 7.0))):
    np.testing.assert_allclose(bins.decode(bins.encode(7.0)), 7, atol=2e-3)


def test_precipitation_bins_are_fitted_on_wet_values():
  sample = np.array([0, 0, 0.005, 0.5, 1.5, np.nan])
  np.testing.assert_array_equal(
    quantize.fit_values(sample, has_zero=True), np.float32([0.5, 1.5])
  )
  assert quantize.quantile(sample, has_zero=True).edges[0] == 0.5


def test_statistics_give_the_quantizer_that_was_fitted():
  sample = np.random.default_rng(4).normal(0, 1, 9_000)
  fitted = quantize.quantile(sample)
  stored = {
    'uniform': {'edges': quantize.uniform(-3, 3).edges.tolist()},
    'quantile': {
      'edges': fitted.edges.tolist(),
      'medians': fitted.values.tolist(),
    },
  }
  loaded = quantize.from_statistics(stored, 'quantile')
  np.testing.assert_array_equal(loaded.edges, fitted.edges)
  np.testing.assert_array_equal(loaded.values, fitted.values)
  np.testing.assert_allclose(
    quantize.from_statistics(stored, 'uniform').values,
    quantize.uniform(-3, 3).values,
    atol=1e-6,
  )


def test_bad_bins_raise():
  with pytest.raises(ValueError, match='one edge more'):
    quantize.Quantizer([0, 1], [0.5, 1.5])
  with pytest.raises(ValueError, match='never decrease'):
    quantize.Quantizer([1, 0], [0.5])
  with pytest.raises(ValueError, match='no range'):
    quantize.uniform(np.nan, 1)
  with pytest.raises(ValueError, match='at least one value'):
    quantize.quantile(np.full(3, np.nan))
  with pytest.raises(ValueError, match="'uniform' or 'quantile'"):
    quantize.from_statistics({}, 'unifrom')
