"""CLIP vectors of photos in every form of file."""

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from fusion_jax.data.sources import photo_vectors

NAMES = ('NL_40683280W', 'NL_40683280N', 'BE_38863102S')
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4) + 1


def dictionary(path):
  """As TimeSenCLIP's own file: [1, D] a name."""
  table = {name: vector[None] for name, vector in zip(NAMES, VECTORS)}
  if path.suffix == '.npz':
    np.savez(path, **table)
  else:
    safetensors_numpy.save_file(table, path)


def table(path):
  if path.suffix == '.npz':
    np.savez(path, keys=np.array(NAMES), vectors=VECTORS)
  else:
    photo_vectors.write(path, NAMES, VECTORS)


@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
@pytest.mark.parametrize('write', [dictionary, table])
def test_views_of_a_point(tmp_path, write, ending):
  write(tmp_path / f'a.{ending}')
  result = photo_vectors.PhotoVectors(tmp_path / f'a.{ending}')
  assert len(result) == 3 and result.width == 4
  views = result.views(40683280)  # W, E, N, S.
  np.testing.assert_array_equal(views[[0, 2]], VECTORS[:2])
  assert np.isnan(views[[1, 3]]).all() and views.dtype == np.float32
  assert result.has(38863102) and not result.has(1)
  assert np.isnan(result.views(1)).all()


def test_folder_of_files_is_one_table(tmp_path):
  photo_vectors.write(tmp_path / 'a.safetensors', NAMES[:1], VECTORS[:1])
  photo_vectors.write(tmp_path / 'b.safetensors', NAMES[1:], VECTORS[1:])
  assert len(photo_vectors.PhotoVectors(tmp_path)) == 3
  photo_vectors.write(tmp_path / 'c.safetensors', ['XX_1N'], VECTORS[:1, :2])
  with pytest.raises(ValueError, match=r'of several widths, \[2, 4\]'):
    photo_vectors.PhotoVectors(tmp_path)


def test_what_is_no_table_raises(tmp_path):
  with pytest.raises(FileNotFoundError, match='prepare photos'):
    photo_vectors.PhotoVectors(tmp_path)
  with pytest.raises(FileNotFoundError, match='no vectors of photos'):
    photo_vectors.PhotoVectors(tmp_path / 'a.npz')
  np.savez(tmp_path / 'a.npz', keys=np.array(NAMES), vectors=VECTORS[:2])
  with pytest.raises(ValueError, match=r'a.npz: .*\(2, 4\) for 3 names'):
    photo_vectors.PhotoVectors(tmp_path / 'a.npz')
  (tmp_path / 'b.safetensors').write_bytes(b'12345678')
  with pytest.raises(
    ValueError, match='b.safetensors is damaged or no file of vectors'
  ):
    photo_vectors.PhotoVectors(tmp_path / 'b.safetensors')
  (tmp_path / 'd.npz').write_bytes((tmp_path / 'a.npz').read_bytes()[:99])
  with pytest.raises(ValueError, match='d.npz: .*cut short'):
    photo_vectors.PhotoVectors(tmp_path / 'd.npz')
  for shapes in ({}, {'a': (1, 4), 'b': (1, 5)}):
    safetensors_numpy.save_file(
      {name: np.ones(shape, np.float32) for name, shape in shapes.items()},
      tmp_path / 'e.safetensors',
    )
    with pytest.raises(ValueError, match='e.safetensors: .* several widths'):
      photo_vectors.PhotoVectors(tmp_path / 'e.safetensors')
  photo_vectors.write(
    tmp_path / 'f.safetensors', ['photos_40683280W'], VECTORS[:1]
  )
  with pytest.raises(ValueError, match=r"f.safetensors has no name .*'photos_"):
    photo_vectors.PhotoVectors(tmp_path / 'f.safetensors')
  (tmp_path / 'c.csv').write_text('a')
  with pytest.raises(ValueError, match='end in .safetensors or .npz'):
    photo_vectors.PhotoVectors(tmp_path / 'c.csv')


def test_photos_belong_to_a_point_whatever_the_country(tmp_path):
  np.savez(
    tmp_path / 'a.npz',
    keys=np.array(['GR_55501800N', 'NL_40683280N']),
    vectors=np.ones((2, 4), np.float32),
  )
  result = photo_vectors.PhotoVectors(tmp_path / 'a.npz')
  assert result.has(55501800)
  np.savez(
    tmp_path / 'b.npz',
    keys=np.array(['EL_55501800N']),
    vectors=np.zeros((1, 4), np.float32),
  )
  with pytest.raises(ValueError, match='as GR_55501800N and as EL_55501800N'):
    photo_vectors.PhotoVectors(tmp_path)
