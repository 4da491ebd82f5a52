"""What augmentations leave of a year: shares, subsets, who shares a draw."""

import functools

import jax
import numpy as np
import pytest

from fusion_jax.ops import dropping

ROWS = 8000


@functools.cache
def drawn(kind, batch=ROWS, per_sample=True):
  draw = jax.jit(
    functools.partial(
      dropping.draw, kind=kind, batch=batch, per_sample=per_sample
    )
  )
  return jax.tree.map(np.asarray, draw(jax.random.key(0)))


@pytest.mark.parametrize('kind', dropping.KINDS)
def test_a_batch_shares_its_draw_unless_told_otherwise(kind):
  for per_sample, rows in ((False, 1), (True, ROWS)):
    drops = drawn(kind, ROWS, per_sample)
    assert drops.months.shape == (rows, 12)
    assert drops.bands.shape == (rows, 10) and drops.median.shape == (rows,)


@pytest.mark.parametrize('kind', ['tsdrop', 'tsmsdrop'])
def test_half_of_the_draws_keep_one_to_eleven_months_alike(kind):
  counts = np.bincount(drawn(kind).months.sum(axis=1), minlength=13) / ROWS
  np.testing.assert_allclose(counts[12], 0.5, atol=0.02)
  np.testing.assert_allclose(counts[1:12], 0.5 / 11, atol=0.01)
  assert counts[0] == 0 and not drawn(kind).median.any()
  np.testing.assert_allclose(
    drawn(kind).months.mean(axis=0), 0.75, atol=0.02
  )  # Every month alike.


def test_a_quarter_loses_three_months_in_a_row_a_quarter_becomes_medians():
  drops = drawn('tsmixaug')
  np.testing.assert_allclose(drops.median.mean(), 0.25, atol=0.02)
  missing = ~drops.months[drops.months.sum(axis=1) < 12]
  np.testing.assert_allclose(len(missing) / ROWS, 0.25, atol=0.02)
  assert (missing.sum(axis=1) == 3).all()
  starts = missing.argmax(axis=1)
  assert all(row[i : i + 3].all() for row, i in zip(missing, starts))
  assert set(starts) == set(range(10))
  np.testing.assert_allclose(np.bincount(starts) / len(missing), 0.1, atol=0.03)
  assert not (drops.median & (drops.months.sum(axis=1) < 12)).any()
  assert drops.bands.all()


@pytest.mark.parametrize('kind', ['tsmsdrop', 'msdrop'])
def test_seven_of_ten_draws_keep_three_to_ten_bands_with_the_visible(kind):
  bands = drawn(kind).bands
  assert bands[:, :3].all()
  counts = np.bincount(bands.sum(axis=1), minlength=11) / ROWS
  np.testing.assert_allclose(counts[3:10], 0.7 / 8, atol=0.015)
  np.testing.assert_allclose(counts[10], 0.3 + 0.7 / 8, atol=0.02)
  if kind == 'msdrop':
    assert drawn(kind).months.all()


def test_months_and_bands_are_drawn_apart():
  drops = drawn('tsmsdrop')
  some = [x.sum(axis=1) < n for x, n in ((drops.months, 12), (drops.bands, 10))]
  assert abs(np.corrcoef(*some)[0, 1]) < 0.05


def test_unknown_kind_is_an_error():
  with pytest.raises(ValueError, match="augment='drop' is not one of"):
    dropping.draw(jax.random.key(0), 'drop', 2)
