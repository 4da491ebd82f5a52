"""TerraMesh shards, written here by plain zarr, zipfile and tarfile.

The fixtures follow the published description of the archive; no shard of the
archive itself was at hand.
"""

import shutil
import tarfile

import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import examples, readers
from fusion_jax.data.builders import shards, skipped
from fusion_jax.data.sources import terramesh
from tests.data import terramesh_archive


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  """Two train shards of three samples, one val shard of one."""
  root = tmp_path_factory.mktemp('terramesh')
  terramesh_archive.write(root)
  return root


@pytest.fixture
def root(original, tmp_path):
  return shutil.copytree(original, tmp_path / 'mesh')


def change(root, name, shard, edit):
  """Rewrites one tar: `edit` changes {key: content} in place."""
  path = root / 'train' / name / f'{shard}.tar'
  with tarfile.open(path) as tar:
    members = {
      m.name.removesuffix('.zarr.zip'): tar.extractfile(m).read() for m in tar
    }
  edit(members)
  terramesh_archive.write_tar(path, members)


def read(root, split='train', part='majortom_shard_000001.tar', **kwargs):
  return list(terramesh.TerraMesh(str(root), **kwargs).read(split, part))


def test_samples_are_read_side_by_side(root):
  for i, example in enumerate(read(root)):
    assert example['key'] == f'majortom_train_{i}'
    assert set(example) == {'key', 'lat', 'lon', 'time', 'S2L1C_offset'} | set(
      terramesh_archive.TYPES
    ) - {'S1GRD'}
    for name in set(terramesh_archive.TYPES) - {'S1GRD'}:
      expected = np.moveaxis(
        terramesh_archive.image_of(name, i, 1010 if i == 2 else 10), 0, -1
      )
      assert example[name].dtype == examples.IMAGE_TYPES[name]
      np.testing.assert_array_equal(
        example[name], expected.astype(examples.IMAGE_TYPES[name])
      )
    assert (example['lat'], example['lon']) == (-38.83, -72.48)
    assert np.datetime64(example['time'], 's') == terramesh_archive.TIME


def test_a_shard_has_one_kind_of_radar(root):
  major = read(root)
  ssl = read(root, part='ssl4eos12_shard_000794.tar')
  assert all('S1RTC' in e and 'S1GRD' not in e for e in major)
  assert all('S1GRD' in e and 'S1RTC' not in e for e in ssl)


def test_offset_of_l1c_is_found_by_its_cirrus_band_and_kept(root, caplog):
  result = read(root)
  assert [int(e['S2L1C_offset']) for e in result] == [0, 0, 1000]
  assert np.median(result[2]['S2L1C'][..., 10]) == 1010  # Not subtracted.
  assert '1 samples of train/S2L1C' in caplog.text


def test_published_parts_schema_and_places(root):
  source = terramesh.TerraMesh(str(root))
  assert source.parts() == {
    'train': ['majortom_shard_000001.tar', 'ssl4eos12_shard_000794.tar'],
    'val': ['majortom_shard_000001.tar'],
  }
  assert set(source.schema.images) == set(terramesh_archive.TYPES)
  assert source.schema.width == terramesh_archive.SIZE
  places = source.places('train', 'majortom_shard_000001.tar')
  assert places['majortom_train_1'] == (
    -38.83,
    -72.48,
    int(terramesh_archive.TIME.astype('datetime64[s]').astype(int)),
  )


def test_rows_that_run_northwards_are_turned(root):
  change(
    root,
    'DEM',
    'majortom_shard_000001',
    lambda members: members.update(
      majortom_train_0=terramesh_archive.member('DEM', 0, north_up=False)
    ),
  )
  np.testing.assert_array_equal(
    read(root)[0]['DEM'][..., 0], terramesh_archive.image_of('DEM', 0)[0, ::-1]
  )


def test_bands_are_put_in_order_by_name(root):
  bands = modalities.S2L2A_BANDS[::-1]
  change(
    root,
    'S2L2A',
    'majortom_shard_000001',
    lambda members: members.update(
      majortom_train_0=terramesh_archive.member('S2L2A', 0, bands=bands)
    ),
  )
  np.testing.assert_array_equal(
    read(root)[0]['S2L2A'],
    np.moveaxis(terramesh_archive.image_of('S2L2A', 0)[::-1], 0, -1),
  )


def broken_bytes(members):
  content = bytearray(members['majortom_train_1'])
  middle = len(content) // 2
  content[middle - 100 : middle + 100] = bytes(200)
  members['majortom_train_1'] = bytes(content)


def other_key(members):
  members['majortom_train_9'] = members.pop('majortom_train_1')


def no_zip(members):
  members['majortom_train_1'] = b'not a zip'


@pytest.mark.parametrize(
  'edit, reason, others',
  [
    (broken_bytes, '', []),
    (no_zip, 'BadZipFile', []),
    (other_key, 'S2L2A lacks the key', ['majortom_train_9']),
  ],
)
def test_bad_sample_is_skipped_counted_and_named(root, edit, reason, others):
  change(root, 'S2L2A', 'majortom_shard_000001', edit)
  result = read(root)
  skipped = [e for e in result if isinstance(e, readers.Skipped)]
  assert sorted(s.key for s in skipped) == ['majortom_train_1', *others]
  assert any(reason in s.reason for s in skipped)
  good = [e['key'] for e in result if not isinstance(e, readers.Skipped)]
  assert good == ['majortom_train_0', 'majortom_train_2']


@pytest.mark.parametrize('cut', [0.5, 0.9])
def test_truncated_shard_gives_the_samples_before_the_cut(root, cut):
  path = root / 'train' / 'S2L2A' / 'majortom_shard_000001.tar'
  content = path.read_bytes()
  with tarfile.open(path) as tar:
    ends = [m.offset_data + m.size for m in tar]
  path.write_bytes(content[: int(ends[-1] * cut)])
  whole = sum(end <= int(ends[-1] * cut) for end in ends)
  result = read(root)
  good = [e for e in result if not isinstance(e, readers.Skipped)]
  assert [e['key'] for e in good] == [
    f'majortom_train_{i}' for i in range(whole)
  ]
  assert len(result) == 3 and 0 < whole < 3
  assert (
    'S2L2A' in next(e for e in result if isinstance(e, readers.Skipped)).reason
  )


def test_wrong_number_of_bands_is_a_bad_sample(root):
  content = terramesh_archive.zipped_store(
    'S2L2A',
    terramesh_archive.image_of('S2L1C', 0),
    bands=modalities.S2L1C_BANDS,
  )
  change(
    root,
    'S2L2A',
    'majortom_shard_000001',
    lambda members: members.update(majortom_train_0=content),
  )
  (bad,) = (e for e in read(root) if isinstance(e, readers.Skipped))
  assert '13 bands, not 12' in bad.reason


def test_build_names_what_it_left_out_and_stops_at_too_much(root, tmp_path):
  change(root, 'S2L2A', 'majortom_shard_000001', no_zip)
  source = terramesh.TerraMesh(str(root))
  with pytest.raises(
    skipped.TooManyBadExamples, match=r'1 of \d .*majortom_train_1.*BadZipFile'
  ):
    shards.build(source, tmp_path / 'strict')
  assert shards.build(source, tmp_path / 'out', max_bad=0.5)
  text = (tmp_path / 'out' / 'statistics.json').read_text()
  assert '"train": 5' in text and 'majortom_train_1' in text


def test_missing_shard_of_a_modality_is_an_error_at_the_start(root):
  (root / 'train' / 'DEM' / 'majortom_shard_000001.tar').unlink()
  with pytest.raises(FileNotFoundError, match='DEM/majortom_shard_000001.tar'):
    terramesh.TerraMesh(str(root)).parts()


def test_folder_without_terramesh_says_what_is_wanted(tmp_path):
  with pytest.raises(FileNotFoundError, match='expected train/'):
    terramesh.TerraMesh(str(tmp_path))


def test_only_the_asked_modalities_are_read(root):
  assert set(read(root, images=('DEM', 'S2L2A'))[0]) == {
    'key',
    'lat',
    'lon',
    'time',
    'DEM',
    'S2L2A',
  }
