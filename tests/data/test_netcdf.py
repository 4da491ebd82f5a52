import pytest

from fusion_jax.data.sources import netcdf


@pytest.mark.parametrize(
  'head, engine',
  [(b'CDF\x01', 'scipy'), (b'CDF\x02', 'scipy'), (b'\x89HDF\r\n', 'h5netcdf')],
)
def test_the_engine_is_told_by_content(tmp_path, head, engine):
  path = tmp_path / 'weather'
  path.write_bytes(head + b'...')
  assert netcdf.engine(path) == engine


def test_another_file_raises(tmp_path):
  path = tmp_path / 'weather.nc'
  path.write_bytes(b'GRIB....')
  with pytest.raises(ValueError, match='weather.nc is no NetCDF file.*GRIB'):
    netcdf.engine(path)
