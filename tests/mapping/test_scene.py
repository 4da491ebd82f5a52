"""Whole maps: what they hold, in what form, and after an interruption."""

import jax
import numpy as np
import pytest
import rasterio

from fusion_jax import locks
from fusion_jax.data import bands
from fusion_jax.inference import trained
from fusion_jax.mapping import (
  blocks,
  calibration,
  classify,
  map_inputs,
  open_cube,
  scene,
)
from tests.mapping import cubes


@pytest.fixture(name='path', scope='module')
def _path(tmp_path_factory):
  folder = tmp_path_factory.mktemp('cube')
  return cubes.write_netcdf(folder / 'cube.nc', cubes.values())


def make(
  path,
  out,
  *,
  side=1,
  classes=None,
  devices=1,
  classifier=False,
  batch_size=4,
  **options,
):
  """Writes a map; returns what rasterio reads of it, and the file's tags."""
  model = cubes.model(side, classifier)
  classes = classes or (
    classify.Classes(model.classes) if classifier else cubes.classes()
  )
  scene.write_map(
    open_cube.open_cube([path]),
    classify.Classifier(
      model, classes, batch_size=batch_size, devices=jax.devices()[:devices]
    ),
    out,
    **{'block': 4} | options,
  )
  with rasterio.open(out) as file:
    return file.read(), file.tags()


@pytest.mark.parametrize('side', [1, 5])
def test_a_map_is_what_the_model_says_of_each_pixel(path, tmp_path, side):
  result, _ = make(path, tmp_path / 'map.tif', side=side)
  names, shares = cubes.expected(
    cubes.model(side), cubes.classes(), cubes.months(cubes.values())
  )
  np.testing.assert_array_equal(result[0], names)
  np.testing.assert_allclose(
    result[1][names != 255], 100 * shares[names != 255], atol=0.51
  )
  assert result[0, 0, 0] == 255 == result[1, 0, 0]  # No month has data.
  assert len(np.unique(names)) > 2


def test_a_classifier_needs_no_prompts(path, tmp_path):
  result, tags = make(path, tmp_path / 'map.tif', classifier=True)
  model = cubes.model(classifier=True)
  images = cubes.months(cubes.values())
  shares = model.predict(images.transpose(2, 3, 0, 1).reshape(-1, 12, 10, 1, 1))
  expected = shares.argmax(axis=1).reshape(cubes.SHAPE)
  expected[0, 0] = 255
  np.testing.assert_array_equal(result[0], expected)
  assert 'Woodland' in tags['classes']


def test_a_map_says_how_far_its_pixels_are_from_the_training_data(
  path, tmp_path, caplog
):
  model = cubes.model()
  made = cubes.months(cubes.values()).astype(np.float64)
  made[:, :, 0, 0] = np.nan  # As it is: a pixel without any data.
  flat = made.reshape(12, len(bands.BANDS), -1)[:, :, 1:]
  means = np.nanmean(flat, axis=0)
  low, high = np.quantile(means, [0.2, 0.9], axis=1)
  low[3] = high[3] = 9_000.0  # Of B5: no pixel is like these.
  ranges = {'pixels': {'low': low.tolist(), 'high': high.tolist()}}
  model.ranges = trained.TrainingRanges({'mean_ranges': ranges})
  scene.write_map(
    open_cube.open_cube([path]),
    classify.Classifier(model, cubes.classes(), batch_size=100),
    tmp_path / 'map.tif',
    block=4,
  )
  text = rasterio.open(tmp_path / 'map.tif').tags()['input_range']
  expected = f'the mean of B5 is {means[3].mean():.6g}, and'
  assert expected in text and expected in caplog.text
  assert '100.0 % of 62 pixels have a mean of B5 over the year' in text
  assert '100.0 % of 62 pixels have a mean of B5 over the year' in caplog.text
  assert map_inputs.describe({}, model.ranges)[0] == map_inputs.NOT_MEASURED
  total = map_inputs.measure(made, model.ranges)
  outside = ((means < low[:, None]) | (means > high[:, None])).sum(axis=1)
  np.testing.assert_array_equal(total['band_outside'], outside)
  np.testing.assert_allclose(total['band_sums'], means.sum(axis=1))


def test_the_map_is_a_cog_in_the_place_of_the_cube(path, tmp_path):
  make(path, tmp_path / 'map.tif')
  with rasterio.open(tmp_path / 'map.tif') as file:
    assert file.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG'
    assert file.crs == rasterio.crs.CRS.from_string(cubes.CRS)
    assert file.transform == cubes.TRANSFORM
    assert file.nodata == 255 and file.scales == (1.0, 0.01)
    assert file.descriptions == ('class', 'confidence')
    assert file.colormap(1)[0][:3] == (0x3C, 0x78, 0xC8)  # Water is blue.
    assert file.colorinterp[1] == rasterio.enums.ColorInterp.undefined
    assert file.tags(1)['class_2'] == 'wheat'
    assert 'not calibrated' in file.tags()['confidence']
  names = (tmp_path / 'map.tif.aux.xml').read_text()
  assert '<Category>water</Category><Category>trees</Category>' in names


def test_blocks_do_not_change_a_map(path, tmp_path):
  small, _ = make(path, tmp_path / 'small.tif', side=5, block=2)
  whole, _ = make(path, tmp_path / 'whole.tif', side=5, block=0, batch_size=100)
  np.testing.assert_array_equal(small, whole)


@pytest.mark.multi_device
def test_eight_devices_give_the_map_of_one(path, tmp_path):
  one, _ = make(path, tmp_path / 'one.tif', embeddings=tmp_path / '1.zarr')
  eight, _ = make(
    path, tmp_path / 'eight.tif', devices=8, embeddings=tmp_path / '8.zarr'
  )
  np.testing.assert_array_equal(one, eight)


def test_a_killed_map_goes_on_with_the_blocks_left(path, tmp_path, monkeypatch):
  whole, _ = make(path, tmp_path / 'whole.tif')
  write, written = blocks.Finished.write, []

  def die(self, block, arrays):
    if len(written) == 2:
      raise KeyboardInterrupt
    written.append(block.index)
    write(self, block, arrays)

  monkeypatch.setattr(blocks.Finished, 'write', die)
  with pytest.raises(KeyboardInterrupt):
    make(path, tmp_path / 'map.tif')
  assert not (tmp_path / 'map.tif').exists()

  def count(self, block, arrays):
    written.append(block.index)
    write(self, block, arrays)

  monkeypatch.setattr(blocks.Finished, 'write', count)
  resumed, _ = make(path, tmp_path / 'map.tif')
  np.testing.assert_array_equal(resumed, whole)
  assert len(written) == len(set(written)) == 6  # 3 x 2 blocks, each once.
  assert not (tmp_path / 'map.tif.blocks').exists()


def test_a_map_is_not_finished_with_other_settings(path, tmp_path, monkeypatch):
  monkeypatch.setattr(scene, '_assemble', lambda *_: 1 / 0)
  for classes in (
    cubes.classes(),
    classify.Classes(('a', 'b', 'c'), cubes.classes().vectors, 2.0),
  ):
    with pytest.raises((ZeroDivisionError, ValueError)) as error:
      make(path, tmp_path / 'map.tif', classes=classes)
  assert 'begun with another classes' in str(error.value)
  assert '--overwrite' in str(error.value)


def test_a_map_is_not_overwritten_unasked(path, tmp_path):
  make(path, tmp_path / 'map.tif')
  with pytest.raises(FileExistsError, match='--overwrite'):
    make(path, tmp_path / 'map.tif')
  make(path, tmp_path / 'map.tif', overwrite=True)


def test_one_process_writes_a_map(path, tmp_path):
  for name in ('map.tif', 'vectors.zarr'):
    with locks.hold(tmp_path / f'{name}.lock', name, 'Wait.'):
      with pytest.raises(
        locks.InUseError,
        match=rf'{name} is in use by process \d+ on .* choose another name',
      ):
        make(path, tmp_path / 'map.tif', embeddings=tmp_path / 'vectors.zarr')
  assert not list(tmp_path.iterdir())


def test_the_temperature_and_its_origin_stand_in_the_map(path, tmp_path):
  fitted = calibration.Calibration(
    ('water', 'trees', 'wheat'), 2.0, 40, 0.3, 0.1, 'places'
  )
  _, tags = make(path, tmp_path / 'map.tif', calibration=fitted)
  assert (
    'temperature 2.000 fitted on 40 labelled pixels of places'
    in (tags['confidence'])
  )


def test_a_cube_of_clouds_gives_an_empty_map(tmp_path, caplog):
  made = {band: np.zeros_like(array) for band, array in cubes.values().items()}
  path = cubes.write_netcdf(tmp_path / 'cube.nc', made)
  result, _ = make(path, tmp_path / 'map.tif')
  assert (result == 255).all()
  assert 'has data in any month' in caplog.text


def test_prompts_must_fit_the_model(path, tmp_path):
  narrow = classify.Classes(('a',), np.ones((1, 5), np.float32))
  with pytest.raises(ValueError, match='5 dimensions, the model has 6'):
    make(path, tmp_path / 'map.tif', classes=narrow)
  with pytest.raises(ValueError, match='no classifier.*--prompts'):
    make(path, tmp_path / 'map.tif', classes=classify.Classes(('a',)))
  with pytest.raises(ValueError, match='leave out --prompts'):
    make(path, tmp_path / 'map.tif', classes=cubes.classes(), classifier=True)


@pytest.mark.parametrize(
  'shape, chunk, block_size, size',
  [
    ((2000, 2000), (1, 2000), 0, (32, 2000)),
    ((2000, 2000), (256, 256), 0, (256, 256)),
    ((2000, 2000), (100, 100), 0, (327, 200)),
    ((2000, 2000), (2000, 2000), 0, (32, 2000)),
    ((9, 7), (9, 7), 0, (9, 7)),
    ((9, 7), (9, 7), 4, (4, 4)),
    ((20_000, 100_000), (1, 100_000), 0, (1, 100_000)),
  ],
)
def test_blocks_suit_how_a_cube_is_stored(shape, chunk, block_size, size):
  assert blocks.block_shape(shape, chunk, block_size) == size
  parts = blocks.split((9, 7), (4, 4))
  covered = np.zeros((9, 7), int)
  for part in parts:
    covered[part.rows, part.columns] += 1
  assert (covered == 1).all()
