"""Conditions become the slots that pretraining makes of visible tokens."""

import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import conditions

MODEL = modalities.select(
    ['untok_sen2l2a@224', 'untok_dem@224', 'coords', 't2m_hourly'],
    image_size=32)


def test_slots_are_ordered_by_name_then_position():
  slots = conditions.encoder_slots(
      {'untok_sen2l2a@224': np.zeros((2, 32, 32, 12)),
       'coords': np.array([[7, 8, 3], [9, 10, 3]])}, MODEL)
  assert slots['modality'].tolist() == [[0, 0, 0, 3, 3, 3, 3]] * 2
  assert slots['position'].tolist() == [[0, 1, 2, 0, 1, 2, 3]] * 2
  assert slots['code'][1].tolist() == [9, 10, 3, 0, 0, 0, 0]
  assert slots['patches'].keys() == {'untok_sen2l2a@224', 'untok_dem@224'}
  assert not slots['patches']['untok_dem@224'].any()
  assert not slots['patches']['untok_sen2l2a@224'][:, :3].any()


def test_patches_run_over_rows_columns_channels():
  image = np.arange(32 * 32 * 2).reshape(1, 32, 32, 2)
  patches = conditions.patchify(image)
  np.testing.assert_array_equal(
      patches[0, 1].reshape(16, 16, 2), image[0, :16, 16:])
  np.testing.assert_array_equal(
      patches[0, 2].reshape(16, 16, 2), image[0, 16:, :16])


def test_pixels_are_standardised_band_by_band():
  sentinel = MODEL[-1]
  image = np.tile(np.array(sentinel.mean) + sentinel.std, (1, 32, 32, 1))
  slots = conditions.encoder_slots({sentinel.name: image}, MODEL)
  np.testing.assert_allclose(
      slots['patches'][sentinel.name], 1, atol=1e-5)


def test_the_centre_is_cropped():
  image = np.arange(36).reshape(6, 6, 1)
  assert conditions.centre_crop(image, 2)[..., 0].tolist() == [
      [14, 15], [20, 21]]
  with pytest.raises(ValueError, match='smaller than the 8 x 8'):
    conditions.centre_crop(image, 8)


@pytest.mark.parametrize('given, message', [
    ({'untok_sen2rgb@224': np.zeros((1, 32, 32, 3))}, 'cannot see'),
    ({}, 'cannot see nothing'),
    ({'untok_dem@224': np.zeros((1, 48, 32, 1))}, 'rows, columns, bands'),
    ({'coords': np.zeros((1, 9))}, 'at most 4'),
    ({'coords': np.full((1, 2), 30_000)}, 'outside its vocabulary')])
def test_wrong_conditions_raise(given, message):
  with pytest.raises(ValueError, match=message):
    conditions.encoder_slots(given, MODEL)
