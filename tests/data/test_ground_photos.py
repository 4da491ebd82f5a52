"""Photos under a folder: which are found, and which are refused."""

import pathlib

import numpy as np
import pytest

from fusion_jax.data.sources import ground_photos

DATA = pathlib.Path(__file__).parents[1] / 'testdata' / 'lucas'


def make(root, *names):
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')


def test_photos_are_found_in_both_layouts(tmp_path, caplog):
  make(
    tmp_path,
    'NL/406/832/40683280W.jpg',
    'HR_46942420N.png',
    '40683280P.jpg',  # The point itself.
  )
  assert ground_photos.find(tmp_path) == {
    'HR_46942420N': tmp_path / 'HR_46942420N.png',
    'NL_40683280W': tmp_path / 'NL/406/832/40683280W.jpg',
  }
  assert '1 pictures under' in caplog.text
  with pytest.raises(ValueError, match='has no photos of 2018; expected files'):
    ground_photos.find(tmp_path / 'NL' / '407')


def test_photos_without_a_country_are_not_taken_for_photos(tmp_path):
  make(tmp_path, 'my/photos/40683280W.jpg')
  with pytest.raises(ValueError, match=r'or NL_40683280W.jpg, not .*80W\.jpg'):
    ground_photos.find(tmp_path)
  make(tmp_path, 'my/photos/NL_40683280W.jpg')
  assert list(ground_photos.find(tmp_path)) == ['NL_40683280W']


def test_a_picture_in_a_relative_folder_is_no_photo(tmp_path, monkeypatch):
  make(tmp_path, 'ph/logo.png', 'ph/40683280W.jpg', 'ph/NL_40683280N.jpg')
  monkeypatch.chdir(tmp_path)
  assert list(ground_photos.find('ph')) == ['NL_40683280N']


def test_endings_may_be_in_capitals(tmp_path):
  names = ('N.jpg', 'E.JPEG', 'S.Jpg', 'W.PNG')
  make(tmp_path, *(f'NL/406/832/40683280{name}' for name in names))
  assert list(ground_photos.find(tmp_path)) == [
    f'NL_40683280{direction}' for direction in 'ENSW'
  ]


@pytest.mark.parametrize('other', ['2015', '2022'])
def test_photos_of_another_year_are_counted_and_left_out(
  tmp_path, caplog, other
):
  server = 'NL/406/832/40683280N.jpg'
  make(tmp_path, f'{other}/{server}')
  with pytest.raises(ValueError, match=f'no photos of 2018.*{other}'):
    ground_photos.find(tmp_path)
  make(tmp_path, f'2018/{server}')
  found = ground_photos.find(tmp_path)
  assert found == {'NL_40683280N': tmp_path / '2018' / server}
  assert '1 pictures under' in caplog.text and 'other years' in caplog.text


@pytest.mark.parametrize(
  'second', ['NL_40683280N.jpg', 'b/NL/406/832/40683280N.jpg']
)
def test_two_photos_of_one_view_raise(tmp_path, second):
  make(tmp_path, 'NL/406/832/40683280N.jpg', second)
  with pytest.raises(ValueError, match='are both the photo NL_40683280N'):
    ground_photos.find(tmp_path)


def test_real_photo_belongs_to_a_point():
  ((name, path),) = ground_photos.find(DATA / 'photos').items()
  assert path.exists() and name == ground_photos.key('HR', 46942420, 'N')
  assert np.array(name) == 'HR_46942420N'
  assert ground_photos.view_of(name) == (46942420, 'N')
  assert ground_photos.view_of('vectors') is None


def test_countries_of_both_lists_give_one_name():
  assert ground_photos.key('GR', 55501800, 'N') == 'EL_55501800N'
  assert ground_photos.key('gb', 55501800, 'N') == 'UK_55501800N'
