"""CLIP's image preprocessing against the original pipeline."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from fusion_jax.data import clip_images

GOLDEN = np.load(
  pathlib.Path(__file__).parents[1] / 'testdata' / 'clip' / 'preprocess_224.npz'
)


@pytest.mark.parametrize('i', range(6))
def test_resized_bytes_are_those_of_the_original(i):
  result = clip_images.resize(GOLDEN[f'in{i}_uint8_hwc'])
  np.testing.assert_array_equal(result, GOLDEN[f'resized_cropped{i}_uint8_hwc'])


@pytest.mark.parametrize('i', range(3))
def test_standardised_floats_are_those_of_the_original(i):
  """Bit by bit; one grey level is 0.015 here."""
  (result,) = clip_images.preprocess([GOLDEN[f'in{i}_uint8_hwc']])
  expected = GOLDEN[f'out{i}_f32_chw'].transpose(1, 2, 0)
  assert result.dtype == np.float32
  np.testing.assert_array_equal(result, expected)


def test_files_images_and_arrays_give_the_same(tmp_path):
  array = GOLDEN['in0_uint8_hwc']
  image = Image.fromarray(array)
  image.save(tmp_path / 'photo.png')
  photos = [array, image, tmp_path / 'photo.png', str(tmp_path / 'photo.png')]
  pixels = clip_images.preprocess(photos, 32)
  assert pixels.shape == (4, 32, 32, 3)
  for other in pixels[1:]:
    np.testing.assert_array_equal(other, pixels[0])


def test_grey_and_transparent_photos_become_rgb(tmp_path):
  for mode in ('L', 'RGBA', 'P'):
    Image.new(mode, (40, 30), 9).save(tmp_path / f'{mode}.png')
    assert clip_images.resize(tmp_path / f'{mode}.png', 8).shape == (8, 8, 3)


def test_a_photo_that_does_not_decode_is_named(tmp_path):
  path = tmp_path / 'torn.jpg'
  Image.fromarray(GOLDEN['in2_uint8_hwc']).save(path)
  path.write_bytes(path.read_bytes()[:900])
  with pytest.raises(ValueError, match='torn.jpg does not decode'):
    clip_images.preprocess([path])
  path.write_text('no photo')
  with pytest.raises(ValueError, match='torn.jpg does not decode'):
    clip_images.preprocess([path])
  with pytest.raises(FileNotFoundError, match='absent.jpg'):
    clip_images.preprocess([tmp_path / 'absent.jpg'])


@pytest.mark.parametrize(
  'photo',
  [
    np.zeros((8, 8), np.uint8),
    np.zeros((8, 8, 3), np.float32),
    np.zeros((8, 8, 4), np.uint8),
  ],
)
def test_arrays_that_are_no_photos_are_refused(photo):
  with pytest.raises(ValueError, match='uint8'):
    clip_images.preprocess([photo])


def test_a_single_path_is_refused():
  with pytest.raises(TypeError, match='list of photos'):
    clip_images.preprocess('photo.jpg')
