"""One flipped bit is named, wherever it is; earlier files still open."""

import json
import re

import numpy as np
import pytest

import fusion_jax
from fusion_jax import checksums
from fusion_jax.convert import checkpoints
from fusion_jax.mapping import index
from fusion_jax.train import checkpoint
from tests import flips
from tests.mapping import cubes


@pytest.fixture(name='exported', scope='module')
def _exported(tmp_path_factory):
  folder = tmp_path_factory.mktemp('exported')
  config = cubes.model().config
  checkpoints.write(folder, cubes.params(config, False), config.to_dict(), {})
  return folder


def build(folder, seed=0):
  rng = np.random.default_rng(seed)
  vectors = rng.normal(size=(40, 4)).astype(np.float32)
  lon, lat = rng.uniform(5, 6, (2, 40))
  return index.build(
    folder,
    lambda: iter([(lon, lat, vectors, None)]),
    40,
    about={'source': 'test'},
  )


def test_a_flipped_bit_of_an_exported_folder_is_named(exported):
  fusion_jax.load(exported)
  names = set()
  for path, byte, bit in flips.places(exported, 100):
    name = re.escape(path.name)
    with flips.flipped(path, byte, bit):
      with pytest.raises(
        checkpoint.CheckpointError, match=rf'the file \S*{name} is not what'
      ):
        fusion_jax.load(exported)
    names.add(path.name)
  assert {'config.json', 'statistics.json', '_CHECKPOINT_METADATA'} < names
  fusion_jax.load(exported)


def test_a_flipped_bit_of_an_index_is_named(tmp_path):
  build(tmp_path)
  for path, byte, bit in flips.places(tmp_path, 100):
    with flips.flipped(path, byte, bit):
      with pytest.raises(
        checksums.ChecksumError, match=f'{tmp_path} is damaged: .*{path.name}'
      ):
        index.Index(tmp_path)
  index.Index(tmp_path)


def test_earlier_folders_open_and_say_once_that_they_are_unchecked(
  exported, tmp_path, caplog
):
  caplog.set_level('INFO')
  sums = (exported / checksums.FILE).read_bytes()
  (exported / checksums.FILE).unlink()
  for _ in range(2):
    fusion_jax.load(exported)
  (exported / checksums.FILE).write_bytes(sums)
  assert caplog.text.count('is of an earlier version: the files beside') == 1
  made = build(tmp_path)
  content = json.loads((tmp_path / 'index.json').read_text())
  for old, new in zip(content.pop('files'), ('index.faiss', 'places.npz')):
    (tmp_path / old).rename(tmp_path / new)
  content.pop('digest')
  (tmp_path / 'index.json').write_text(json.dumps(content, indent=1))
  opened = index.Index(tmp_path)
  assert opened.about == made.about
  np.testing.assert_array_equal(opened.lon, made.lon)
  assert 'it has no checksums' in caplog.text


@pytest.mark.parametrize('renamed', range(3))
def test_a_killed_build_leaves_the_index_before(tmp_path, monkeypatch, renamed):
  """It dies before each of the three files gets its name."""
  before = build(tmp_path)
  replace, done = type(tmp_path).replace, []

  def die(self, target):
    if len(done) == renamed:
      raise KeyboardInterrupt
    done.append(target)
    return replace(self, target)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(type(tmp_path), 'replace', die)
    build(tmp_path, seed=1)
  np.testing.assert_array_equal(index.Index(tmp_path).lon, before.lon)
  assert index.Index(tmp_path).about == before.about
  after = build(tmp_path, seed=1)
  assert after.lon[0] != before.lon[0]
  whole = tmp_path / 'whole'
  build(whole, seed=1)
  contents = [
    {path.name: path.read_bytes() for path in folder.iterdir() if path != whole}
    for folder in (tmp_path, whole)
  ]
  assert contents[0] == contents[1]


def test_checksums_are_added_to_those_that_are_there(tmp_path):
  (tmp_path / 'a').write_text('a')
  assert not checksums.verify(tmp_path)
  checksums.add(tmp_path, ['a'])
  (tmp_path / 'b').write_text('b')
  checksums.add(tmp_path, ['b'])
  assert checksums.verify(tmp_path)
  (tmp_path / 'a').write_text('b')
  assert checksums.verify(tmp_path, part='b')
  with pytest.raises(checksums.ChecksumError, match='the file a is not what'):
    checksums.verify(tmp_path)
  (tmp_path / 'a').unlink()
  with pytest.raises(checksums.ChecksumError, match='the file a is missing'):
    checksums.verify(tmp_path)
  checksums.add(tmp_path, ['b'], anew=True)
  assert checksums.verify(tmp_path)


@pytest.mark.parametrize('content', [{}, {'a': [1, 2.5], 'b': {'c': 'd'}}])
def test_an_object_holds_its_own_digest(content):
  text = checksums.dumps(content).encode()
  assert checksums.loads(text, 'x') == (content, True)
  for byte in range(len(text)):
    for bit in range(8):
      other = bytearray(text)
      other[byte] ^= 1 << bit
      try:
        _, has_digest = checksums.loads(bytes(other), 'x.json')
      except checksums.ChecksumError as error:
        assert 'x.json' in str(error)
      else:  # The name of the digest is hit: it looks like an earlier file.
        assert not has_digest
