"""LUCAS records, photos and the published labels with their swapped columns."""

import csv
import logging
import pathlib

import pytest

from fusion_jax.data import labels, lucas_grid
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


def test_survey_in_another_encoding_raises(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_bytes(
    'POINT_ID,NUTS0,TH_LAT,TH_LONG,LC1,LU1\n'
    '40683280,NL,52.57,6.27,B11,é\n'.encode('latin1')
  )
  with pytest.raises(ValueError, match='a.csv is not in UTF-8.*iconv'):
    lucas.read_survey(path)


def harmonised(path, rows, name='year'):
  """A table of several years, as of the harmonised survey."""
  lines = [f'id,point_id,{name},nuts0,th_lat,th_long,lc1,lu1']
  for number, (point, when, lc1) in enumerate(rows):
    lat, lon = lucas_grid.coordinates(point)
    lines.append(f'{number},{point},{when},NL,{lat:.6f},{lon:.6f},{lc1},U111')
  path.write_text('\n'.join(lines) + '\n')
  return path


@pytest.mark.parametrize(
  'name, others, survey',
  [
    ('year', '2009', '2018'),
    ('survey_date', '14/06/15', '14/06/18'),
    ('SURVEY_DATE', '2022-06-14', '2018-06-14'),
    ('SURVEY_DATE', '20150614', '20180614'),
    ('SURVEY_DATE', '14/06/15 10:00', '14/06/18 10:00'),
    ('SURVEY_DATE', '14/06/15', ''),
  ],
)
def test_of_several_years_the_survey_of_2018_counts(
  tmp_path, caplog, name, others, survey
):
  rows = [
    (40683280, others, 'C10'),
    (40683280, survey, 'B11'),
    (40703280, others, 'C10'),
  ]
  points = lucas.read_survey(harmonised(tmp_path / 'a.csv', rows, name))
  assert points == {40683280: lucas.Point('B11', 'U111', 'NL')}
  assert '2 of 3 rows are of other years than 2018' in caplog.text
  with pytest.raises(ValueError, match='has no row of 2018'):
    lucas.read_survey(harmonised(tmp_path / 'b.csv', rows[:1], name))
  with pytest.raises(ValueError, match="'June', which is no year and no date"):
    lucas.read_survey(
      harmonised(tmp_path / 'c.csv', [(40683280, 'June', 'C10')], name)
    )


@pytest.mark.parametrize('code', ['GR', 'gb ', 'EL', 'UK'])
def test_countries_have_the_codes_of_two_lists(code):
  point = lucas.Point('B11', 'U111', code)
  country = lucas.survey_labels(point)['country']
  expected = 'Greece' if code in ('GR', 'EL') else 'United Kingdom'
  name = labels.pretty(labels.classes('country')[country])
  assert name.replace(' ', '') == expected.replace(' ', '')


def test_an_unknown_country_raises(tmp_path):
  path = harmonised(tmp_path / 'a.csv', [(40683280, '2018', 'B11')])
  path.write_text(path.read_text().replace(',NL,', ',XK,'))
  with pytest.raises(ValueError, match="a.csv has point 40683280 .* 'XK'"):
    lucas.read_survey(path)


@pytest.mark.parametrize('cut', [1, 5, 12, 20])
def test_a_row_that_was_cut_is_named(tmp_path, cut):
  path = harmonised(
    tmp_path / 'a.csv', [(40683280, '2018', 'B11'), (40703280, '2018', 'B16')]
  )
  text = path.read_text()
  path.write_text(text[: text.rindex(',') - cut])
  with pytest.raises(ValueError, match=r'a.csv, line 3: [1-7] fields .* has 8'):
    lucas.read_survey(path)
  path.write_text(text.replace('U111', 'U111,,x', 1))
  with pytest.raises(ValueError, match='line 2: 10 fields'):
    lucas.read_survey(path)
