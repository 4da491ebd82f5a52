"""LUCAS records, photos and the published labels with their swapped columns."""

import csv
import logging
import pathlib

import numpy as np
import pytest

from fusion_jax.data import labels
from fusion_jax.data.sources import lucas

DATA = pathlib.Path(__file__).parents[1] / 'testdata' / 'lucas'


def rewritten(source, path, change):
  """A copy of a CSV after `change` of its rows (lists of str)."""
  with open(source, newline='', encoding='utf-8') as file:
    rows = list(csv.reader(file))
  with open(path, 'w', newline='', encoding='utf-8') as file:
    csv.writer(file).writerows(change(rows))
  return path


def test_survey_of_97_columns():
  points = lucas.read_survey(DATA / 'microdata_2018_excerpt.csv')
  assert points[38863060] == lucas.Point('A22', 'U312', 'BE')
  result = lucas.survey_labels(points[38863102])
  names = {
    task: labels.classes(task)[i] for task, i in result.items() if i >= 0
  }
  assert names == {
    'land_cover': 'Artificial Land',
    'land_use': 'Residential',
    'country': 'Belgium',
  }
  assert result['crops'] == -1


def test_survey_without_a_column_or_with_a_point_twice_raises(tmp_path):
  source = DATA / 'microdata_2018_excerpt.csv'

  def without_lc1(rows):
    drop = rows[0].index('LC1')
    return [row[:drop] + row[drop + 1 :] for row in rows]

  with pytest.raises(ValueError, match=r"a.csv lacks the columns \['LC1'\]"):
    lucas.read_survey(rewritten(source, tmp_path / 'a.csv', without_lc1))

  def twice(rows):
    other = list(rows[1])
    other[rows[0].index('LC1')] = 'B16'
    return [*rows, other]

  with pytest.raises(ValueError, match='b.csv has point 38863060 twice'):
    lucas.read_survey(rewritten(source, tmp_path / 'b.csv', twice))


@pytest.fixture
def warnings_of_absl(caplog):
  logger = logging.getLogger('absl')
  logger.addHandler(caplog.handler)
  caplog.set_level(logging.WARNING, logger='absl')
  yield caplog
  logger.removeHandler(caplog.handler)


def test_published_labels_have_latitude_and_longitude_swapped(warnings_of_absl):
  result = lucas.read_labels(DATA / 'original_layout_head.csv')
  assert 'original_layout_head.csv has latitude and longitude swapped' in (
    warnings_of_absl.text
  )
  names = {
    task: labels.classes(task)[i] for task, i in result[55082360].items()
  }
  assert names == {
    'land_cover': 'Cropland',
    'land_use': 'Agriculture',
    'crops': 'Sunflower',
    'country': 'Bulgaria',
    'bioregion': 'Continental',
    'eunis': 'Arable land and market gardens',
  }
  assert result[40683280]['crops'] == -1  # 'NA'.


def test_labels_with_columns_in_their_place_bring_no_warning(warnings_of_absl):
  result = lucas.read_labels(DATA / 'sen4map_test_labels_sample.csv')
  assert not warnings_of_absl.text
  assert len(result) == 256
  counts = {
    task: len({row[task] for row in result.values()} - {-1})
    for task in labels.TASKS
  }
  assert counts == {
    'land_cover': 8,
    'land_use': counts['land_use'],
    'crops': 22,
    'eunis': 22,
    'bioregion': 7,
    'country': 24,
  }


def test_labels_of_other_places_raise(tmp_path):
  def move(rows):
    row = list(rows[3])
    row[1] = str(float(row[1]) + 1)
    return rows[:3] + [row] + rows[4:]

  path = rewritten(
    DATA / 'sen4map_test_labels_sample.csv', tmp_path / 'moved.csv', move
  )
  with pytest.raises(
    ValueError,
    match='moved.csv: 1 of 256 rows lie elsewhere '
    'than their identifiers say, such as point 49542520',
  ):
    lucas.read_labels(path)


def test_labels_of_an_unknown_class_raise(tmp_path):
  path = rewritten(
    DATA / 'sen4map_test_labels_sample.csv',
    tmp_path / 'odd.csv',
    lambda rows: [
      [text.replace('Sunflower', 'Triffid') for text in row] for row in rows
    ],
  )
  with pytest.raises(
    ValueError,
    match="odd.csv, Lucas_Point_55082360: 'Triffid' is no class of crops",
  ):
    lucas.read_labels(path)


def test_photos_are_found_in_both_layouts(tmp_path):
  nested = tmp_path / 'NL' / '406' / '832' / '40683280W.jpg'
  nested.parent.mkdir(parents=True)
  nested.write_bytes(b'')
  (tmp_path / 'HR_46942420N.png').write_bytes(b'')
  (tmp_path / '40683280P.jpg').write_bytes(b'')  # The point itself.
  assert lucas.photo_path(tmp_path, 'NL', 40683280, 'W') == nested
  assert lucas.photo_path(tmp_path, 'NL', 40683280, 'N') is None
  assert list(lucas.find_photos(tmp_path)) == ['HR_46942420N', 'NL_40683280W']
  with pytest.raises(ValueError, match='has no photos; expected files such'):
    lucas.find_photos(tmp_path / 'NL' / '407')


def test_photos_without_a_country_are_not_taken_for_photos(tmp_path):
  folder = tmp_path / 'my' / 'photos'
  folder.mkdir(parents=True)
  (folder / '40683280W.jpg').write_bytes(b'')
  with pytest.raises(ValueError, match=r'or NL_40683280W.jpg, not .*80W\.jpg'):
    lucas.find_photos(tmp_path)
  (folder / 'NL_40683280W.jpg').write_bytes(b'')
  assert list(lucas.find_photos(tmp_path)) == ['NL_40683280W']


def test_real_photo_belongs_to_a_point():
  result = lucas.find_photos(DATA / 'photos')
  ((key, path),) = result.items()
  assert path == lucas.photo_path(DATA / 'photos', 'HR', 46942420, 'N')
  assert key == lucas.photo_key('HR', 46942420, 'N')
  assert np.array(key) == 'HR_46942420N'


def test_survey_in_another_encoding_raises(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(
    'POINT_ID,NUTS0,TH_LAT,TH_LONG,LC1,LU1\n'
    '40683280,NL,52.57,6.27,B11,é\n'.encode('latin1')
  )
  with pytest.raises(ValueError, match='a.csv is not in UTF-8.*iconv'):
    lucas.read_survey(path)
