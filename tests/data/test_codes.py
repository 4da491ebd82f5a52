"""Codes beside images: what is stored, resumed, refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fusion_jax import datasets, modalities
from fusion_jax.data import pipelines, records
from fusion_jax.data.builders import codes, tokenising

SQUARES = tokenising.Squares(32, 3)
NAMES = 'tok_lulc@224', 'tok_sen1grd@224'
EARTH = datasets.Simulated(
  image_size=40,
  images=('LULC', 'S1GRD'),
  splits=dict(train=8, val=2),
  examples_per_shard=4,
)


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  """Ten simulated examples of 40 x 40 pixels; some lack Sentinel-1 GRD."""
  return datasets.prepare(
    EARTH,
    tmp_path_factory.mktemp('earth') / 'data',
    datasets.BuildSettings(num_workers=1),
  )


@pytest.fixture
def data_dir(original, tmp_path):
  return shutil.copytree(original, tmp_path / 'data')


def corner_pixels(images):
  """Codes that tell which pixels they are made of."""
  return np.abs(images[:, ::16, ::16, 0].astype(np.float32) * 100).astype(int)


def make_encoders(count=2, fingerprint='one', encode=corner_pixels):
  return [
    tokenising.Encoder(modalities.get(name), fingerprint, encode)
    for name in NAMES[:count]
  ]


def read(path, split='train'):
  source = records.Examples(path, split)
  return [source[i] for i in range(len(source))]


def test_codes_are_those_of_their_squares(data_dir):
  before = read(data_dir)
  assert codes.write(data_dir, make_encoders(), SQUARES, batch_size=5)
  absent = 0
  for old, new in zip(before, read(data_dir), strict=True):
    for name, value in old.items():
      np.testing.assert_array_equal(new[name], value)
    corners = new['codes/corners']
    np.testing.assert_array_equal(corners[0], [4, 4])
    assert corners.shape == (3, 2) and corners.min() >= 0
    assert corners.max() <= 8
    for name, field in zip(NAMES, ('LULC', 'S1GRD')):
      result = new[f'codes/{name}']
      assert result.dtype == np.uint16
      if not old[field].size:
        assert result.shape == (0, 2, 2)
        absent += 1
        continue
      cut = np.stack([old[field][y : y + 32, x : x + 32] for y, x in corners])
      np.testing.assert_array_equal(result, corner_pixels(cut))
  assert 0 < absent < 8
  assert len({x['codes/corners'].tobytes() for x in read(data_dir)}) == 8


def test_tfds_reads_the_codes_too(data_dir):
  codes.write(data_dir, make_encoders(), SQUARES)
  example = tfds.builder_from_directory(str(data_dir)).as_data_source('val')[0]
  np.testing.assert_array_equal(
    example['codes']['tok_lulc@224'],
    read(data_dir, 'val')[0]['codes/tok_lulc@224'],
  )


def test_only_the_first_square_is_needed_without_room(data_dir):
  codes.write(data_dir, make_encoders(1), tokenising.Squares(16, 1))
  assert read(data_dir)[0]['codes/corners'].tolist() == [[12, 12]]
  with pytest.raises(ValueError, match='40 x 40.*image_size=48'):
    codes.write(
      data_dir, make_encoders(1), tokenising.Squares(48, 1), overwrite=True
    )


def test_a_killed_run_goes_on_with_the_next_shard(data_dir):
  calls = []

  def failing(images):
    calls.append(len(images))
    if len(calls) == 3:
      raise KeyboardInterrupt
    return corner_pixels(images)

  with pytest.raises(KeyboardInterrupt):
    codes.write(data_dir, make_encoders(1, encode=failing), SQUARES)
  untouched = records.Examples(data_dir, 'train').fields
  assert 'codes/corners' not in untouched  # Reads as before.
  total = len(list(data_dir.glob('*.array_record')))
  assert not list(data_dir.glob('*.tmp*'))
  calls.clear()
  calls.extend([0] * 10)
  assert codes.write(data_dir, make_encoders(1, encode=failing), SQUARES)
  assert len(calls) - 10 == total - 2
  assert all('codes/tok_lulc@224' in x for x in read(data_dir))


def test_a_shard_that_was_made_anew_gets_codes_again(data_dir, original):
  codes.write(data_dir, make_encoders(1), SQUARES)
  for path in [
    *data_dir.glob('train*.array_record'),
    data_dir / 'features.json',
    data_dir / codes.SUMMARY,
  ]:
    path.unlink()  # But not the hidden folder of notes.
    if (original / path.name).exists():
      shutil.copy(original / path.name, path)
  assert codes.write(data_dir, make_encoders(1), SQUARES)
  assert all(x['codes/tok_lulc@224'].shape == (3, 2, 2) for x in read(data_dir))


def test_a_run_killed_before_its_note_leaves_no_note_of_another(
  data_dir, monkeypatch
):
  codes.write(data_dir, make_encoders(1), SQUARES)

  def killed(path, text):
    raise KeyboardInterrupt

  def other(images):
    return corner_pixels(images) + 1

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(codes.layout, 'write_whole', killed)
    codes.write(
      data_dir, make_encoders(1, 'two', other), SQUARES, overwrite=True
    )
  whole = shutil.copytree(data_dir, data_dir.parent / 'whole')
  shutil.rmtree(whole / '.notes')
  for path in data_dir, whole:
    codes.write(path, make_encoders(1), SQUARES)
  for shard in sorted(whole.glob('*.array_record')):
    assert shard.read_bytes() == (data_dir / shard.name).read_bytes()


def test_files_of_killed_runs_are_removed_at_the_end(data_dir):
  shard = next(data_dir.glob('*.array_record'))
  leftover = data_dir / f'{shard.name}.tmp-123'
  leftover.write_bytes(b'half')
  codes.write(data_dir, make_encoders(1), SQUARES)
  assert not leftover.exists()


def test_done_work_is_not_done_again(data_dir):
  codes.write(data_dir, make_encoders(1), SQUARES)

  def never(images):
    raise AssertionError

  assert codes.write(data_dir, make_encoders(1, encode=never), SQUARES)


def test_processes_share_the_shards_and_the_last_one_finishes(data_dir):
  whole = shutil.copytree(data_dir, data_dir.parent / 'whole')
  codes.write(whole, make_encoders(), SQUARES)
  assert not codes.write(data_dir, make_encoders(), SQUARES, share=(0, 2))
  assert 'codes/corners' not in records.Examples(data_dir, 'train').fields
  assert codes.write(data_dir, make_encoders(), SQUARES, share=(1, 2))
  for path in sorted(whole.glob('*.array_record')):
    assert path.read_bytes() == (data_dir / path.name).read_bytes()


def test_the_report_counts_examples_with_and_without_an_image(data_dir):
  codes.write(data_dir, make_encoders(), SQUARES)
  report = json.loads((data_dir / 'codes_report.json').read_text())
  absent = sum(not example['S1GRD'].size for example in read(data_dir))
  assert report['made_with']['tokenizers'] == dict.fromkeys(NAMES, 'one')
  train = report['splits']['train']
  assert (train['shards'], train['examples']) == (8, 8)
  assert train['coded']['codes/tok_lulc@224'] == 8
  assert train['without'] == {'codes/tok_sen1grd@224': absent}


def test_each_note_of_codes_is_read_once(data_dir, monkeypatch):
  codes.write(data_dir, make_encoders(1), SQUARES)
  read_text, reads = pathlib.Path.read_text, []

  def counted(path, *args, **kwargs):
    if path.name.endswith('.codes.json'):
      reads.append(path.name)
    return read_text(path, *args, **kwargs)

  monkeypatch.setattr(pathlib.Path, 'read_text', counted)
  codes.write(data_dir, make_encoders(1), SQUARES)
  assert len(reads) == len(set(reads)) == 10
  # A job whose shards are done stops at the first of the others without codes.
  next(iter(sorted((data_dir / '.notes').glob('*1-of-*.codes.json')))).unlink()
  reads.clear()
  assert not codes.write(data_dir, make_encoders(1), SQUARES, share=(0, 10))
  assert len(reads) <= 2


def test_notes_of_before_are_understood(data_dir):
  codes.write(data_dir, make_encoders(1), SQUARES)
  for path in (data_dir / '.notes').glob('*.codes.json'):
    path.write_text(json.dumps(json.loads(path.read_text())['made_with']))

  def never(images):
    raise AssertionError

  assert codes.write(data_dir, make_encoders(1, encode=never), SQUARES)


def test_other_tokenizers_or_squares_need_to_be_told(data_dir):
  codes.write(data_dir, make_encoders(1), SQUARES)
  with pytest.raises(ValueError, match='--overwrite'):
    codes.write(data_dir, make_encoders(1, 'two'), SQUARES)
  with pytest.raises(ValueError, match='image_size 32, now 16'):
    codes.write(data_dir, make_encoders(1), tokenising.Squares(16, 3))
  codes.write(
    data_dir, make_encoders(2, 'two'), tokenising.Squares(16, 2), overwrite=True
  )
  assert read(data_dir)[0]['codes/tok_lulc@224'].shape == (2, 1, 1)
  note = json.loads((data_dir / codes.SUMMARY).read_text())
  assert note == {
    'image_size': 16,
    'squares': 2,
    'tokenizers': dict.fromkeys(NAMES, 'two'),
  }


def test_processes_that_free_the_data_set_at_once_get_along(
  data_dir, monkeypatch
):
  codes.write(data_dir, make_encoders(1), SQUARES)
  write_features = codes._write_features

  def and_the_other(path, result):
    write_features(path, result)
    (path / codes.SUMMARY).unlink(missing_ok=True)

  monkeypatch.setattr(codes, '_write_features', and_the_other)
  assert not codes.write(
    data_dir, make_encoders(1, 'two'), SQUARES, share=(0, 2), overwrite=True
  )


def test_preparing_again_finds_the_data_set_whole(data_dir):
  codes.write(data_dir, make_encoders(1), SQUARES)
  before = (data_dir / 'features.json').read_bytes()
  datasets.prepare(EARTH, data_dir)
  assert (data_dir / 'features.json').read_bytes() == before


def test_training_finds_the_codes(data_dir, caplog):
  selected = modalities.select(NAMES[:1])
  pipelines.open_source(data_dir, 'train', selected)
  assert 'no codes' in caplog.text
  caplog.clear()
  codes.write(data_dir, make_encoders(1), SQUARES)
  pipelines.open_source(data_dir, 'train', selected)
  assert 'no codes' not in caplog.text


def test_mistakes_raise_before_anything_is_written(data_dir, tmp_path):
  dem = tokenising.Encoder(modalities.get('tok_dem@224'), 'one', corner_pixels)
  with pytest.raises(ValueError, match="no .'DEM'.; its fields.*LULC"):
    codes.write(data_dir, [dem], SQUARES)
  with pytest.raises(ValueError, match='one for each'):
    codes.write(data_dir, make_encoders(1) * 2, SQUARES)
  with pytest.raises(FileNotFoundError, match='no finished data set'):
    codes.write(tmp_path / 'nowhere', make_encoders(1), SQUARES)
  with pytest.raises(ValueError, match='image_size=40'):
    tokenising.Squares(40, 1)
  with pytest.raises(ValueError, match='0 squares'):
    tokenising.Squares(32, 0)
  with pytest.raises(ValueError, match='tok_lulc@224 run.* 4375; .*0..4374'):
    codes.write(
      data_dir,
      make_encoders(1, encode=lambda x: np.full((len(x), 2, 2), 4_375)),
      SQUARES,
    )
