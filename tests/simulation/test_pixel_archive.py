"""Simulated LUCAS points in real files, read back by the real readers."""

import csv

import numpy as np
import pytest

h5py = pytest.importorskip('h5py')
rasterio = pytest.importorskip('rasterio')

from fusion_jax import datasets
from fusion_jax.data import labels, readers, records
from fusion_jax.data.builders import sen4map, shards
from fusion_jax.data.builders import skipped as skipped_lib
from fusion_jax.data.sources import photo_vectors
from fusion_jax.simulation import pixel_archive, pixels

COUNT = 6


@pytest.fixture(scope='module')
def earth():
  return pixels.SimulatedPixels(
    seed=3, size=5, splits={'train': 3, 'test': COUNT}
  )


@pytest.fixture(scope='module')
def folder(earth, tmp_path_factory):
  root = tmp_path_factory.mktemp('archive')
  pixel_archive.write_hdf5(earth, root / 'test.h5', 'test', patch=12)
  pixel_archive.write_composites(earth, root / 'train.h5', 'train')
  pixel_archive.write_survey(earth, root / 'survey.csv')
  pixel_archive.write_labels(earth, root / 'labels.csv', 'test')
  pixel_archive.write_photo_vectors(earth, root / 'photos.safetensors')
  pixel_archive.write_habitat_map(earth, root / 'eunis.tif', 'test')
  return root


def source(folder, **changes):
  options = dict(
    files={'test': str(folder / 'test.h5')},
    size=5,
    survey=str(folder / 'survey.csv'),
    labels=str(folder / 'labels.csv'),
    photos=str(folder / 'photos.safetensors'),
  )
  return sen4map.Sen4Map(**options | changes)


def read(builder, split='test'):
  return {
    getattr(example, 'key', None) or example['key']: example
    for part in builder.parts()[split]
    for example in builder.read(split, part)
    if not isinstance(example, readers.Dropped)
  }


def assert_same(result, expected):
  assert result.keys() == expected.keys()
  for name in expected:
    np.testing.assert_array_equal(result[name], expected[name], err_msg=name)


def test_files_give_back_the_example(earth, folder):
  result = read(source(folder))
  assert len(result) == COUNT
  for i in range(COUNT):
    expected = earth.example('test', i)
    assert_same(result[expected['key']], expected)


def test_composites_give_back_the_example_without_other_files(earth, folder):
  builder = source(
    folder, files={'train': str(folder / 'train.h5')}, survey='', labels=''
  )
  assert builder.schema.dtype == 'float32'
  result = read(builder, 'train')
  for i in range(3):
    expected = earth.example('train', i)
    assert_same(result[expected['key']], expected)


def test_habitats_come_from_a_map_where_no_table_has_them(earth, folder):
  result = read(
    source(
      folder,
      labels='',
      eunis=str(folder / 'eunis.tif'),
      eunis_table=str(folder / 'eunis.tif.csv'),
    )
  )
  for i in range(COUNT):
    expected = earth.example('test', i)
    assert result[expected['key']]['label/eunis'] == expected['label/eunis']
    assert result[expected['key']]['label/bioregion'] == -1


def without_photos_of(folder, tmp_path, point, directions='WENS'):
  whole = photo_vectors.PhotoVectors(folder / 'photos.safetensors')
  kept = {
    name: read(row)
    for (found, direction), (name, read, row) in whole._of.items()
    if found != point or direction not in directions
  }
  path = tmp_path / 'fewer.safetensors'
  photo_vectors.write(path, list(kept), np.stack(list(kept.values())))
  return str(path)


def test_places_without_photos_are_dropped_from_training_only(
  earth, folder, tmp_path
):
  site, _ = earth.ground('train', 0)
  photos = without_photos_of(folder, tmp_path, site.point_id)
  builder = source(
    folder,
    files={'train': str(folder / 'train.h5'), 'test': str(folder / 'train.h5')},
    photos=photos,
  )
  key = earth.example('train', 0)['key']
  assert key not in read(builder, 'train')
  assert np.isnan(read(builder, 'test')[key]['views']).all()


def test_photos_of_other_places_raise(folder, tmp_path):
  path = tmp_path / 'photos.safetensors'
  photo_vectors.write(path, ['NL_40683280W'], np.ones((1, 512)))
  builder = source(
    folder, photos=str(path), files={'train': str(folder / 'train.h5')}
  )
  with pytest.raises(
    ValueError,
    match=r'no photo of any place of .*train.h5, '
    r'but of points such as \[.Lucas_Point_40683280',
  ):
    builder.parts()


def test_places_without_a_habitat_are_dropped_from_the_test_split(
  folder, tmp_path, caplog
):
  with open(folder / 'labels.csv', newline='') as file:
    rows = list(csv.reader(file))
  rows[1][-1] = 'NA'
  with open(tmp_path / 'labels.csv', 'w', newline='') as file:
    csv.writer(file).writerows(rows)
  result = read(source(folder, labels=str(tmp_path / 'labels.csv')))
  assert rows[1][0] not in result and len(result) == COUNT - 1
  assert f'Dropped 1 of {COUNT} places of test' in caplog.text


def test_composites_without_a_habitat_are_dropped_where_others_have_one(
  earth, folder, tmp_path
):
  path = tmp_path / 'test_with_eunis.h5'
  keys = [earth.example('train', i)['key'] for i in range(3)]
  path.write_bytes((folder / 'train.h5').read_bytes())
  builder = sen4map.Sen4Map({'test': str(path), 'val': str(path)})
  with h5py.File(path, 'a') as file:
    del file[keys[1]].attrs['EUNIS_L2']
    file[keys[2]].attrs['EUNIS_L2'] = np.nan
  assert set(read(builder)) == {keys[0]}
  assert set(read(builder, 'val')) == set(keys)
  sen4map._has_habitats.cache_clear()
  with h5py.File(path, 'a') as file:
    for key in keys:
      file[key].attrs.pop('EUNIS_L2', None)
  assert set(read(builder)) == set(keys)


def test_the_three_left_out_places_are_not_in_training(folder, tmp_path):
  path = tmp_path / 'train.h5'
  with h5py.File(folder / 'train.h5') as old, h5py.File(path, 'w') as new:
    for name, group in zip(
      ('Lucas_Point_45061526', 'Lucas_Point_45061528'), old.values()
    ):
      old.copy(group, new, name)
  builder = sen4map.Sen4Map({'train': str(path), 'val': str(path)})
  assert len(read(builder, 'train')) == 1
  assert len(read(builder, 'val')) == 2


def test_broken_places_are_named_counted_and_skipped(folder, tmp_path):
  path = tmp_path / 'test.h5'
  path.write_bytes((folder / 'test.h5').read_bytes())
  with h5py.File(path, 'a') as file:
    key = sorted(file)[2]
    del file[key]['B11']
  builder = source(folder, files={'test': str(path)})
  broken = [
    e
    for e in builder.read('test', (0, COUNT))
    if isinstance(e, readers.Skipped)
  ]
  (skipped,) = broken
  assert skipped.key == key and "lacks the bands ['B11']" in skipped.reason
  with pytest.raises(skipped_lib.TooManyBadExamples, match=key):
    shards.build(builder, tmp_path / 'out')


def test_point_that_the_survey_lacks_is_skipped(folder, tmp_path):
  lines = (folder / 'survey.csv').read_text().splitlines()
  (tmp_path / 'survey.csv').write_text('\n'.join(lines[:-1]) + '\n')
  result = read(source(folder, survey=str(tmp_path / 'survey.csv')))
  skipped = [e for e in result.values() if isinstance(e, readers.Skipped)]
  assert len(skipped) == 1 and 'has no point' in skipped[0].reason


def test_habitat_map_holds_the_classes(earth, folder):
  site, habitat = earth.ground('test', 0)
  with rasterio.open(folder / 'eunis.tif') as raster:
    x, y = site.point_id // 10_000 * 1000, site.point_id % 10_000 * 1000
    ((value,),) = raster.sample([(x, y)])
  assert value == habitat.labels['eunis'] + 100
  assert (
    labels.classes('eunis')[value - 100]
    in (folder / 'eunis.tif.csv').read_text()
  )


def test_prepare_writes_what_the_files_hold(earth, folder, tmp_path):
  out = tmp_path / 'data'
  recipe = datasets.Sen4Map(
    source=str(folder),
    size=5,
    survey=str(folder / 'survey.csv'),
    labels=str(folder / 'labels.csv'),
    photos=str(folder / 'photos.safetensors'),
  )
  datasets.prepare(recipe, out, datasets.BuildSettings(num_workers=2))
  result = records.Examples(out, 'test')
  assert {result[i]['key'] for i in range(len(result))} == {
    earth.example('test', i)['key'] for i in range(COUNT)
  }
  expected = earth.example('test', 2)
  example = next(
    e for e in (result[i] for i in range(COUNT)) if e['key'] == expected['key']
  )
  assert_same(example, expected)
  with pytest.raises(ValueError, match='made with other arguments: survey='):
    datasets.prepare(datasets.Sen4Map(source=str(folder), size=5), out)


def test_files_of_splits_are_found_by_how_their_names_begin(tmp_path):
  for name in ('val.h5', 'test_with_eunis.h5', 'train.hdf5', 'notes.txt'):
    (tmp_path / name).write_bytes(b'')
  assert list(sen4map.find_files(tmp_path)) == ['train', 'val', 'test']
  (tmp_path / 'test.h5').write_bytes(b'')
  with pytest.raises(ValueError, match="both of 'test'"):
    sen4map.find_files(tmp_path)
  with pytest.raises(ValueError, match="--source='' holds no Sen4Map"):
    datasets.prepare(datasets.Sen4Map(source=''), tmp_path / 'out')
