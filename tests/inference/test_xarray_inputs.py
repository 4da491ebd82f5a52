"""Values of xarray objects come in the unit of their modality."""

import numpy as np
import pytest
import xarray

from fusion_jax import modalities
from fusion_jax.inference import xarray_inputs

LANDSAT = ('B2', 'B3', 'B4', 'B5', 'B6', 'B7')
WITHOUT = ('B5', 'B6', 'B7', 'B8')  # Bands that Landsat lacks.


def packed(values, scale, offset=0.0, fill=-32768):
  """Values [...] as int16 with the attributes of CF; NaN becomes the fill."""
  stored = np.rint((values - offset) / scale)
  return np.where(np.isnan(stored), fill, stored).astype('int16'), {
    'scale_factor': scale,
    'add_offset': offset,
    '_FillValue': np.int16(fill),
  }


@pytest.mark.parametrize(
  'field, value, scale, offset',
  [
    ('S1RTC', -12.34, 0.01, 0.0),
    ('DEM', 812.5, 0.5, 1000.0),
    ('NDVI', 0.62, 1e-4, 0.0),
  ],
)
@pytest.mark.parametrize('many', [False, True], ids=['array', 'dataset'])
def test_what_is_no_reflectance_is_decoded_as_cf_says(
  field, value, scale, offset, many
):
  modality = modalities.IMAGE_FIELDS[field]
  values = np.full((len(modality.bands), 4, 4), value)
  values[:, 0, 0], values[:, 1] = np.nan, 0  # 0 is a value like others.
  stored, attrs = packed(values, scale, offset)
  array = xarray.DataArray(
    stored, {'band': list(modality.bands)}, ('band', 'y', 'x'), attrs=attrs
  )
  given = array
  if many:
    given = xarray.Dataset(
      {name: array.sel(band=name, drop=True) for name in modality.bands}
    )
  result = xarray_inputs.image(given, modality)
  np.testing.assert_allclose(result, np.moveaxis(values, 0, -1), atol=1e-4)
  plain = array.copy(data=stored).drop_attrs()
  np.testing.assert_array_equal(
    xarray_inputs.image(plain, modality), np.moveaxis(stored, 0, -1)
  )


def landsat(values, **attrs):
  """A year [T, C, Y, X] of Landsat."""
  times = np.arange('2020-01', '2021-01', dtype='M8[M]').astype('M8[ns]')
  return xarray.DataArray(
    np.broadcast_to(values, (12, 6, 2, 2)),
    {'time': times, 'band': list(LANDSAT)},
    ('time', 'band', 'y', 'x'),
    attrs={'platform': 'landsat-8', **attrs},
  )


@pytest.mark.parametrize('dtype', ['uint16', 'float32'])
def test_numbers_of_landsat_without_a_scale_are_refused(dtype):
  raw = landsat(np.array(10_000, dtype))
  with pytest.raises(ValueError, match='pixels is of Landsat 8-9.*_factor=0.0'):
    xarray_inputs.pixels(raw, WITHOUT)
  scaled = raw.assign_attrs(scale_factor=0.0000275, add_offset=-0.2)
  pixels, _, _ = xarray_inputs.pixels(scaled, WITHOUT)  # As advised.
  np.testing.assert_allclose(pixels[:, 0], 750, atol=0.1)
  counts = raw.assign_attrs(scale_factor=1e-4)
  assert (xarray_inputs.pixels(counts, WITHOUT)[0][:, 0] == 10_000).all()
  s2l2a = modalities.get('S2L2A')
  bands = raw.isel(time=0).assign_coords(band=[f'SR_{x}' for x in LANDSAT])
  for given in (bands, bands.to_dataset('band')):
    with pytest.raises(ValueError, match='S2L2A.* is of .*declares no scale'):
      xarray_inputs.image(given, s2l2a)


def test_a_valid_range_that_decoding_left_counts_no_more():
  array = landsat(np.float32(0.05), valid_range=[1, 10_000])
  del array.attrs['platform']
  s2 = array.assign_coords(band=['B2', 'B3', 'B4', 'B8A', 'B11', 'B12'])
  s2.encoding['scale_factor'] = 1e-4
  pixels, _, _ = xarray_inputs.pixels(s2, WITHOUT)
  assert (pixels[:, 0] == np.float32(0.05)).all()  # Checked by the model.
  del s2.encoding['scale_factor']
  assert np.isnan(xarray_inputs.pixels(s2, WITHOUT)[0]).all()
