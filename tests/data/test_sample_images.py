"""Images of samples that are no reflectance come in their unit."""

import numpy as np
import pytest
import rasterio

from fusion_jax.data.sources import sample_images
from tests.data import test_geotiff


def write(path, image, scale=1.0, offset=0.0):
  test_geotiff.write(path, image)
  with rasterio.open(path, 'r+') as file:
    file.scales, file.offsets = (scale,) * len(image), (offset,) * len(image)
  return path


@pytest.mark.parametrize(
  'name, stored, scale, offset, expected',
  [
    ('S1RTC', np.int16([-1234, -60]), 0.01, 0.0, [-12.34, -0.6]),
    ('S1GRD', np.uint8([20, 60]), 0.5, -40.0, [-30, -10]),
    ('DEM', np.int16([1234, -36]), 0.1, 0.0, [123, -4]),
    ('DEM', np.float32([3.9, -3.9]), 1.0, 0.0, [4, -4]),
    ('NDVI', np.int16([6200, 0]), 1e-4, 0.0, [0.62, 0]),
  ],
)
def test_scales_and_offsets_of_rasters_are_applied(
  tmp_path, name, stored, scale, offset, expected
):
  bands = 2 if name.startswith('S1') else 1
  image = np.tile(stored, (bands, 4, 2))
  path = write(tmp_path / 'a.tif', image, scale, offset)
  result = sample_images.read(path, name)
  expected = np.tile(expected, (4, 2))[..., None].repeat(bands, -1)
  np.testing.assert_allclose(result, expected, rtol=1e-3)


@pytest.mark.parametrize(
  'name, stored, words',
  [
    ('S1RTC', np.float32([0.05, 0.2]), 'a.tif has no value below 0.*store dB'),
    ('S1RTC', np.int16([-1234, -60]), 'a.tif has S1RTC of -1234 dB at 50.00%'),
    ('DEM', np.float32([20, 9100]), 'a.tif has DEM of 9100 m.*-500 .. 9000'),
    ('NDVI', np.int16([6200, 0]), 'a.tif has NDVI of 6200 1 .*declare the sca'),
  ],
)
def test_values_of_another_unit_are_refused(tmp_path, name, stored, words):
  image = np.tile(stored, (2 if name == 'S1RTC' else 1, 4, 2))
  with pytest.raises(ValueError, match=words):
    sample_images.read(write(tmp_path / 'a.tif', image), name)
