"""Maps that were stopped, or whose blocks were damaged, end as if never."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
import rasterio

from fusion_jax import checksums
from fusion_jax.data.sources.imagery import encoding
from fusion_jax.mapping import (
  block_settings,
  blocks,
  classify,
  cog,
  embeddings,
  open_cube,
  scene,
)
from tests import flips
from tests.mapping import cubes


@pytest.fixture(name='make', scope='module')
def _make(tmp_path_factory):
  """Writes a map into a folder, with one compiled model."""
  cube = cubes.write_netcdf(
    tmp_path_factory.mktemp('cube') / 'cube.nc', cubes.values()
  )
  classifier = classify.Classifier(
    cubes.model(), cubes.classes(), batch_size=64, devices=jax.devices()[:1]
  )

  def make(folder, ending='.parquet', declared=None, **options):
    settings = {'block': 4, 'finish': lambda path: write_picture(path)}
    folder.mkdir(exist_ok=True)
    scene.write_map(
      open_cube.open_cube([cube], declared=declared),
      classifier,
      folder / 'map.tif',
      embeddings=folder / f'vectors{ending}',
      **settings | options,
    )

  return make


def write_picture(path):
  with rasterio.open(path) as file:
    path.with_suffix('.txt').write_text(str(file.read().tolist()))


def interrupt(*_):
  raise KeyboardInterrupt


def contents(folder):
  return {
    str(path.relative_to(folder)): path.read_bytes()
    for path in flips.files_in(folder)
  }


@pytest.fixture(
  name='whole',
  scope='module',
  params=['.zarr', pytest.param('.parquet', marks=pytest.mark.slow)],
)
def _whole(request, make, tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  make(folder, request.param)
  return request.param, contents(folder)


@pytest.mark.parametrize(
  'owner, name',
  [
    (blocks, '_write'),
    (embeddings, 'write'),
    (cog, 'write'),
    (blocks.Finished, 'remove'),
  ],
)
@pytest.mark.parametrize('moment', ['before', 'after'])
def test_a_map_that_dies_anywhere_goes_on_by_the_same_call(
  make, whole, tmp_path, monkeypatch, owner, name, moment
):
  """It dies at the first, second ... call of a step, until it is through."""
  ending, expected = whole
  call, calls = getattr(owner, name), []

  def die(*args, **kwargs):
    calls.append(args)
    if moment == 'after':
      call(*args, **kwargs)
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(owner, name, die)
    make(tmp_path, ending)
  if (name, moment) == ('remove', 'after'):
    with pytest.raises(FileExistsError, match='--overwrite'):
      make(tmp_path, ending)
  else:
    make(tmp_path, ending)
  assert calls
  assert contents(tmp_path) == expected


@pytest.mark.parametrize('moment', ['before', 'after'])
@pytest.mark.parametrize(
  'owner, name',
  [(pathlib.Path, 'replace'), (shutil, 'rmtree'), (pathlib.Path, 'unlink')],
)
def test_a_map_that_dies_while_it_cleans_up_is_the_same(
  make, whole, tmp_path, monkeypatch, owner, name, moment
):
  ending, expected = whole
  remove, call = blocks.Finished.remove, getattr(owner, name)

  def die(*args, **kwargs):
    if moment == 'after':
      call(*args, **kwargs)
    raise KeyboardInterrupt

  def clean(self):
    with monkeypatch.context() as patch:
      patch.setattr(owner, name, die)
      remove(self)

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(blocks.Finished, 'remove', clean)
    make(tmp_path, ending)
  monkeypatch.setattr(blocks.Finished, 'write', interrupt)  # No block again.
  if (name, moment) == ('unlink', 'after'):  # Nothing was left to do.
    with pytest.raises(FileExistsError, match='--overwrite'):
      make(tmp_path, ending)
  else:
    make(tmp_path, ending)
  assert contents(tmp_path) == expected


def test_what_is_left_of_a_map_that_was_removed_is_none(
  make, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(shutil, 'rmtree', interrupt)
    make(tmp_path)
  (tmp_path / 'map.tif').unlink()
  (tmp_path / 'vectors.parquet').unlink()
  make(tmp_path)
  assert (tmp_path / 'map.tif').exists()
  assert not (tmp_path / 'map.tif.mapped').exists()


@pytest.mark.parametrize(
  'noted',
  [
    repr,
    lambda declared: repr(declared).replace(', empty=nan', ''),
    lambda declared: block_settings._chosen(
      {'offset': '-0.1', 'hosts': repr(declared.hosts)}
    ),
  ],
)
def test_other_hosts_and_earlier_versions_are_no_other_encoding(
  make, tmp_path, monkeypatch, noted
):
  declared = encoding.Declared(offset=-0.1, hosts=('a.org', 'b.org'))
  describe = block_settings.describe

  def describe_earlier(cube, *args):
    return {**describe(cube, *args), 'encoding': noted(cube.declared)}

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(block_settings, 'describe', describe_earlier)
    make(tmp_path, declared=declared, finish=interrupt)
  monkeypatch.setattr(blocks.Finished, 'write', interrupt)  # No block again.
  with pytest.raises(ValueError, match='begun with another encoding'):
    make(tmp_path, declared=encoding.Declared(offset=0.1))
  make(tmp_path, declared=encoding.Declared(offset=-0.1, hosts=('c.org',)))


@pytest.mark.parametrize(
  'count', [5, pytest.param(100, marks=pytest.mark.slow)]
)
def test_a_flipped_bit_of_a_map_in_work_is_made_good(
  make, whole, tmp_path, caplog, count
):
  ending, expected = whole
  with pytest.raises(KeyboardInterrupt):
    make(tmp_path, ending, finish=interrupt)
  folder = tmp_path / 'map.tif.blocks'
  assert len(flips.files_in(folder)) == 7  # 3 x 2 blocks, and the settings.
  for path, byte, bit in flips.places(folder, count):
    for name in ('map.tif', 'map.tif.aux.xml'):  # Not written yet.
      (tmp_path / name).unlink()
    embeddings_path = tmp_path / f'vectors{ending}'
    embeddings_path.rename(tmp_path / 'aside')
    flips.flip(path, byte, bit)
    caplog.clear()
    with pytest.raises(KeyboardInterrupt):
      make(tmp_path, ending, finish=interrupt)
    assert f'{path} is damaged' in caplog.text
    embeddings_of = contents(tmp_path)
    assert all(
      embeddings_of[name] == content
      for name, content in expected.items()
      if name != 'map.txt'
    )
    remove(tmp_path / 'aside')
  make(tmp_path, ending)
  assert contents(tmp_path) == expected


def remove(path):
  if path.is_dir():
    for child in sorted(path.rglob('*'), reverse=True):
      child.rmdir() if child.is_dir() else child.unlink()
    path.rmdir()
  else:
    path.unlink()


BLOCK = blocks.Block(slice(0, 1), slice(0, 2), (0, 0))
ARRAYS = {'class': np.array([[1, 2]], np.uint8)}


def begin(folder, **settings):
  finished = blocks.Finished(folder, {'model': 'a', **settings}, ['v.zarr'])
  finished.start()
  return finished


def test_a_block_that_changes_while_it_is_read_is_named(tmp_path):
  finished = begin(tmp_path)
  finished.write(BLOCK, ARRAYS)
  assert BLOCK in finished
  (path,) = tmp_path.glob('block*')
  flips.flip(path, 100, 1)
  with pytest.raises(
    checksums.ChecksumError, match=f'{path} .* run the same command again'
  ):
    finished.read(BLOCK)
  assert BLOCK not in finished and not path.exists()


def test_blocks_of_earlier_versions_are_used_with_their_settings(tmp_path):
  (tmp_path / 'settings.json').write_text(json.dumps({'model': 'a'}))
  np.savez(tmp_path / 'block-00000-00000.npz', **ARRAYS)
  finished = begin(tmp_path)
  assert BLOCK in finished
  np.testing.assert_array_equal(finished.read(BLOCK)['class'], [[1, 2]])
  flips.flip(tmp_path / 'block-00000-00000.npz', 170, 1)
  assert BLOCK not in begin(tmp_path)
  np.savez(tmp_path / 'block-00000-00000.npz', **ARRAYS)
  (tmp_path / 'settings.json').write_text('{')  # Whose blocks are they?
  assert BLOCK not in begin(tmp_path)


def test_blocks_serve_the_files_that_they_were_made_for(tmp_path):
  begin(tmp_path)
  with pytest.raises(ValueError, match='begun with another targets'):
    blocks.Finished(tmp_path, {'model': 'a'}, ['other.zarr'])
  with pytest.raises(ValueError, match='begun with another model'):
    begin(tmp_path, model='b')
  with pytest.raises(ValueError, match='by another version, which noted other'):
    begin(tmp_path, other=1)
