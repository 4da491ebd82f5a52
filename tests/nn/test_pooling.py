"""Pooling of views against recorded outputs, and views that are missing."""

import numpy as np
import pytest

from fusion_jax.nn import pooling
from tests import golden_timesenclip as golden

KERNELS = {'per_image': 'perimage', 'per_dimension': 'perdim'}


def pool(kind, reduction, views, present=None):
  arrays = golden.load('attention_pool')[1]
  params = (
    {}
    if kind == 'mean'
    else {'kernel': arrays[f'param/{KERNELS[kind]}.linear.weight'].T}
  )
  return pooling.ViewPool(kind, reduction).apply(
    {'params': params}, views, present
  )


@pytest.mark.parametrize('kind', list(KERNELS))
@pytest.mark.parametrize('reduction', pooling.REDUCTIONS)
def test_output_is_the_references(kind, reduction):
  arrays = golden.load('attention_pool')[1]
  np.testing.assert_allclose(
    pool(kind, reduction, arrays['in/views']),
    arrays[f'out/{KERNELS[kind]}_{reduction}'],
    rtol=0,
    atol=2e-5,
  )


def test_mean_is_the_references():
  arrays = golden.load('attention_pool')[1]
  np.testing.assert_allclose(
    pool('mean', 'sum', arrays['in/views']),
    arrays['out/avgpool'],
    rtol=0,
    atol=2e-5,
  )


@pytest.mark.parametrize('kind', pooling.KINDS)
@pytest.mark.parametrize('reduction', pooling.REDUCTIONS)
def test_a_missing_view_is_as_if_it_were_not_there(kind, reduction):
  views = golden.load('attention_pool')[1]['in/views'].copy()
  expected = pool(kind, reduction, views[:, :3])
  views[:, 3] = np.nan
  present = np.array([[True, True, True, False]] * len(views))
  np.testing.assert_allclose(
    pool(kind, reduction, views, present), expected, rtol=0, atol=1e-6
  )


@pytest.mark.parametrize('kind', pooling.KINDS)
@pytest.mark.parametrize('reduction', pooling.REDUCTIONS)
def test_no_view_at_all_gives_zero(kind, reduction):
  views = np.full((2, 4, 32), np.nan, np.float32)
  result = pool(kind, reduction, views, np.zeros((2, 4), bool))
  np.testing.assert_array_equal(result, 0)


def test_unknown_kind_is_an_error():
  with pytest.raises(ValueError, match="kind='mad'.*per_image"):
    pooling.ViewPool('mad').apply({}, np.zeros((1, 4, 32)))
