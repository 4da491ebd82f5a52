"""One file gives the same pixels wherever it is read.

Generated files vary in form, spelling and order of bands, type, scale, offset,
and in how they hide pixels; what generate, map, prepare samples and
load(...).encode see is compared with the numbers that were written.
"""

import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import bands, readers
from fusion_jax.data.sources import geotiff, samples
from fusion_jax.inference import xarray_inputs
from fusion_jax.mapping import open_cube
from tests.data import imagery_files as files

S2L2A = modalities.get('S2L2A')
JUNE = 5
INSIDE = slice(8, 20)  # Of 16 pixels around the centre, without hidden ones.


def check(case, folder):
  """Reads a case by all four entries."""
  path = files.write(case, folder / 'scene')
  counts, hidden = case.counts, case.hidden
  refused = case.hide not in ('', 'zero')
  filled = np.where(hidden[..., None], 0, counts)
  if refused:
    with pytest.raises(ValueError, match='masks 25.0% of its pixels'):
      geotiff.read_scene(path)
  else:
    scene = geotiff.read_scene(path)
    np.testing.assert_array_equal(scene.image, filled)
    assert scene.time == files.SECONDS
  window = geotiff.read_scene(path, size=12)
  np.testing.assert_array_equal(window.image, counts[6:18, 6:18])

  cube = open_cube.open_cube([path])
  pixels = cube.read(*(slice(0, size) for size in cube.shape))[JUNE]
  chosen = [
    i for i, band in enumerate(files.BANDS) if bands.short(band) in bands.BANDS
  ]
  expected = np.where(hidden[..., None], np.nan, counts)[..., chosen]
  np.testing.assert_allclose(np.moveaxis(pixels, 0, -1), expected, rtol=2e-6)

  if case.hide not in ('mask', 'alpha'):  # An array has no mask.
    array = files.data_array(case).expand_dims('time')
    year, _, _ = xarray_inputs.pixels(array, ())
    np.testing.assert_array_equal(year[0], pixels)

  (result,) = prepared(case, folder / 'samples')
  if refused:
    assert isinstance(result, readers.Skipped)
    assert 'masks 25.0% of its pixels' in result.reason
  else:
    np.testing.assert_array_equal(result['S2L2A'], filled)

  image = xarray_inputs.image(files.data_array(case), S2L2A)
  if case.hide not in ('mask', 'alpha'):
    none = 0 if case.hide == 'zero' else np.nan
    expected = np.where(hidden[..., None], none, counts)
    np.testing.assert_allclose(image, expected, rtol=2e-6)


def prepared(case, folder):
  """What `prepare samples` reads of a sample."""
  path = files.write(case, folder / 'made')
  (folder / 'S2L2A').mkdir()
  if case.form == 'item':
    path = path.parent
  name = 'a' if path.is_dir() and path.suffix != '.zarr' else f'a{path.suffix}'
  path.rename(folder / 'S2L2A' / name)
  (folder / 'samples.csv').write_text(
    'sample_id,lat,lon,s2_datetime_utc\na,50.5,3,2023-06-10T10:46:21Z\n'
  )
  return samples.SampleFolder(str(folder)).read('train', ('a',))


@pytest.mark.parametrize('form', files.FORMS)
def test_all_entries_see_what_was_written(tmp_path, form):
  case = files.draw(files.FORMS.index(form), form)
  print(case)
  check(case, tmp_path)


@pytest.mark.slow
def test_all_entries_see_what_was_written_in_many_files(tmp_path):
  for seed in range(100, 160):
    case = files.draw(seed)
    print(case)
    check(case, tmp_path / str(seed))
