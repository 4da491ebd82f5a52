"""Vectors of photos: from files to files, and what breaks."""

import json
import pathlib
import shutil

import numpy as np
import pytest

import fusion_jax
from fusion_jax import datasets
from fusion_jax.convert import torch_files, write_clip
from fusion_jax.data.builders import skipped
from fusion_jax.data.sources import photo_vectors

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
PHOTO = DATA / 'lucas' / 'photos' / 'HR_46942420N.png'


def write(source, out, clip='', **settings):
  return datasets.write_photo_vectors(
    datasets.PhotoVectors(
      source=str(source), out=str(out), clip=clip, **settings
    )
  )


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  """A tiny converted CLIP."""
  folder = tmp_path_factory.mktemp('clip') / 'converted'
  write_clip.convert(str(DATA / 'clip' / 'tiny' / 'openai.pt'), folder)
  return str(folder)


@pytest.fixture
def photos(tmp_path):
  """A real photo under three names, in both layouts, and a broken one."""
  folder = tmp_path / 'photos'
  nested = folder / 'NL' / '406' / '832'
  nested.mkdir(parents=True)
  shutil.copy(PHOTO, nested / '40683280W.png')
  for name in ('HR_46942420N', 'HR_46942420S'):
    shutil.copy(PHOTO, folder / f'{name}.png')
  (folder / 'HR_46942420E.png').write_bytes(PHOTO.read_bytes()[:3000])
  return folder


def test_vectors_are_those_of_clip_and_broken_photos_are_counted(
  clip, photos, tmp_path
):
  out = tmp_path / 'vectors'
  options = dict(photos_per_file=3, batch_size=2, max_bad=0.3)
  assert write(photos, out, clip, **options) == 3
  result = photo_vectors.PhotoVectors(out)
  assert len(result) == 3
  views = result.views(46942420)  # W, E, N, S.
  assert np.isnan(views[:2]).all()
  expected = fusion_jax.load(clip).embed_images([PHOTO], normalize=False)[0]
  np.testing.assert_allclose(views[2:], [expected, expected], rtol=0, atol=1e-6)
  ((name, reason),) = json.loads((out / 'photos-00000000.json').read_text())[
    'skipped'
  ]
  assert name == 'HR_46942420E'
  assert 'HR_46942420E.png does not decode as a photo' in reason


def test_too_many_broken_photos_stop(clip, photos, tmp_path):
  with pytest.raises(skipped.TooManyBadExamples, match='HR_46942420E'):
    write(photos, tmp_path / 'vectors', clip)


def test_interrupted_embedding_goes_on_and_job_arrays_share_the_files(
  clip, photos, tmp_path
):
  out = tmp_path / 'vectors'
  options = dict(photos_per_file=1, max_bad=1)
  assert write(photos, out, clip, shard=(1, 2), **options) == 2
  before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
  assert write(photos, out, clip, **options) == 3
  assert before == {path: path.stat().st_mtime_ns for path in before}
  (photos / 'HR_46942420E.png').unlink()
  with pytest.raises(
    ValueError, match='holds vectors of 4 photos by .*now there are 3 by'
  ):
    write(photos, out, clip, **options)


def test_torch_dictionary_becomes_a_table(tmp_path, monkeypatch):
  table = {'NL_40683280W': np.ones((1, 4)), 'NL_40683280N': np.zeros((1, 4))}
  monkeypatch.setattr(torch_files, 'load', lambda path: table)
  assert write('vectors.pt', tmp_path) == 2
  result = photo_vectors.PhotoVectors(tmp_path)
  np.testing.assert_array_equal(
    result.views(40683280)[[0, 2]], [[1] * 4, [0] * 4]
  )


def test_torch_file_of_weights_is_no_dictionary_of_vectors(tmp_path):
  source = DATA / 'clip' / 'tiny' / 'openclip.pt'
  with pytest.raises(ValueError, match='openclip.pt is no dictionary of vect'):
    write(source, tmp_path)


def test_photos_without_clip_raise(photos, tmp_path):
  with pytest.raises(ValueError, match='name it with --clip'):
    write(photos, tmp_path / 'out')
