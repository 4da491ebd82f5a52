"""The commands that map, calibrate and search, from files to files."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest
import rasterio

from fusion_jax import datasets, geo
from fusion_jax.commands import app
from fusion_jax.convert import checkpoints, write_clip
from fusion_jax.data import prompt_files, prompts
from fusion_jax.mapping import (
  calibration,
  class_prompts,
  index,
  temperature,
  text_search,
)
from tests import pixel_data
from tests.mapping import cubes

REAL = (
  pathlib.Path(__file__).parents[1]
  / 'testdata'
  / 'worldcereal'
  / 'belgium_16x12.nc'
)
FLAGS = ['--missing-bands', 'B8A', '--nodata', '65535']


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  """An encoder, a classifier, prompt vectors and a data set."""
  folder = tmp_path_factory.mktemp('commands')
  for name, classifier in ('encoder', False), ('classifier', True):
    model = cubes.model(classifier=classifier)
    checkpoints.write(
      folder / name,
      cubes.params(model.config, classifier),
      model.config.to_dict(),
      {},
    )
  made = prompts.from_classes(['Water', 'Woodland', 'Cropland'])
  prompt_files.write(
    folder / 'prompts.npz',
    prompts.Prompts(
      made.classes, made.texts, made.class_of, cubes.classes().vectors
    ),
  )
  splits = (('train', 200), ('val', 40), ('few', 10))
  pixel_data.write(folder / 'data', splits, side=1)
  return folder


def run(folder, out, *more):
  """Maps the real cube with the encoder; returns the file's bands."""
  app.main(
    [
      'map',
      '--checkpoint',
      str(folder / 'encoder'),
      '--prompts',
      str(folder / 'prompts.npz'),
      '--scene',
      str(REAL),
      '--out',
      str(out),
      *more,
    ]
  )
  with rasterio.open(out) as file:
    return file.read()


def test_the_real_cube_is_mapped_and_searched(folder, tmp_path):
  result = run(
    folder,
    tmp_path / 'map.tif',
    *FLAGS,
    '--embeddings',
    str(tmp_path / 'map.parquet'),
  )
  assert result.shape == (2, 16, 12) and (result[0] < 3).all()
  assert (result[1] <= 100).all()
  assert (tmp_path / 'map.png').stat().st_size > 1_000
  app.main(
    [
      'search',
      'Water',
      '--build',
      str(tmp_path / 'map.parquet'),
      '--index',
      str(tmp_path / 'index'),
      '--prompts',
      str(folder / 'prompts.npz'),
      '--count',
      '5',
      '--out',
      str(tmp_path / 'answers'),
      '--apart_m',
      '40',
    ]
  )
  with open(tmp_path / 'answers' / 'answers.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  scores = [float(row['score']) for row in rows]
  assert len(rows) == 5 and scores == sorted(scores, reverse=True)
  assert all(50 < float(row['lat']) < 51 for row in rows)
  geo = json.loads((tmp_path / 'answers' / 'answers.geojson').read_text())
  assert len(geo['features']) == 5
  assert geo['features'][0]['properties']['query'] == 'Water'
  converted = 'converted from a file that it does not name'
  assert {row['model'] for row in rows} == {converted}
  assert geo['features'][0]['properties']['model'] == converted
  assert (tmp_path / 'answers' / 'answers.png').stat().st_size > 1_000


def test_the_real_cube_says_which_flags_it_needs(folder, tmp_path, capsys):
  for flags, message in (
    ([], '--missing-bands B8A.'),
    (FLAGS[:2], '--nodata 65535.'),
    (FLAGS[2:], '--missing-bands B8A.'),
  ):
    with pytest.raises(SystemExit):
      run(folder, tmp_path / 'map.tif', *flags)
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert last_line.startswith('fusion-jax map: ') and message in last_line


def test_a_classifier_is_calibrated_and_maps(folder, tmp_path):
  workdir = folder / 'classifier'
  app.main(
    ['calibrate', '--checkpoint', str(workdir), '--data', str(folder / 'data')]
  )
  app.main(
    [
      'map',
      '--checkpoint',
      str(workdir),
      '--scene',
      str(REAL),
      '--out',
      str(tmp_path / 'map.tif'),
      *FLAGS,
    ]
  )
  with pytest.raises(ValueError, match=r'10 pixel\(s\) of .* needs 30 or more'):
    temperature.calibrate(workdir, folder / 'data', split='few')
  with rasterio.open(tmp_path / 'map.tif') as file:
    assert re.search(
      r'temperature .* \[.*\] fitted on 40 labelled pixels',
      file.tags()['confidence'],
    )


@pytest.mark.parametrize('ending', ['.zarr', '.parquet'])
def test_vectors_of_a_classifier_are_not_searched_by_text(
  folder, tmp_path, ending
):
  out = tmp_path / f'vectors{ending}'
  app.main(
    [
      'map',
      '--checkpoint',
      str(folder / 'classifier'),
      '--scene',
      str(REAL),
      '--out',
      str(tmp_path / 'map.tif'),
      '--embeddings',
      str(out),
      *FLAGS,
    ]
  )
  with pytest.raises(ValueError, match='not lie in the space of texts; map'):
    text_search.build_index(out, tmp_path / 'index')


def test_prompts_are_calibrated_by_the_names_of_their_classes(folder):
  app.main(
    [
      'calibrate',
      '--checkpoint',
      str(folder / 'encoder'),
      '--data',
      str(folder / 'data'),
      '--label',
      'land_cover',
      '--prompts',
      str(folder / 'prompts.npz'),
      '--split',
      'train',
    ]
  )
  result = calibration.read(
    folder / 'encoder', ('Water', 'Woodland', 'Cropland')
  )
  assert 0 < result.num_pixels < 200  # Of the three classes only.
  with pytest.raises(ValueError, match='No class has the name of one of crops'):
    temperature.calibrate(
      folder / 'encoder',
      folder / 'data',
      label='crops',
      prompts=folder / 'prompts.npz',
    )
  with pytest.raises(ValueError, match='--label'):
    temperature.calibrate(
      folder / 'encoder', folder / 'data', prompts=folder / 'prompts.npz'
    )


def test_a_data_set_is_searched_by_its_encoder(folder, tmp_path):
  with pytest.raises(ValueError, match='--checkpoint'):
    text_search.build_index(folder / 'data', tmp_path / 'index')
  made = text_search.build_index(
    folder / 'data',
    tmp_path / 'index',
    split='val',
    checkpoint=folder / 'encoder',
  )
  assert len(made.lat) == 40 and made.keys[3] == 'Lucas_Point_val3'


def test_places_without_data_are_not_searched(folder, tmp_path, caplog):
  pixel_data.write(
    tmp_path / 'data', splits=[('test', 3)], side=1, valid=np.zeros(12, bool)
  )
  with pytest.raises(ValueError, match='has no embedding'):
    text_search.build_index(
      tmp_path / 'data', tmp_path / 'index', checkpoint=folder / 'encoder'
    )
  assert 'Left out 3 of 3 places without data' in caplog.text


def test_models_of_another_kind_are_refused(folder, tmp_path):
  clip = tmp_path / 'clip'
  write_clip.convert(
    str(
      pathlib.Path(__file__).parents[1]
      / 'testdata'
      / 'clip'
      / 'tiny'
      / 'openai.pt'
    ),
    clip,
  )
  with pytest.raises(
    ValueError, match='clip holds a CLIP; a map needs a pixel encoder. Name the'
  ):
    class_prompts.load_classifier(clip)
  for checkpoint, message in {
    clip: 'a CLIP; an index of texts needs a pixel encoder',
    folder / 'classifier': 'no encoder of pixels .* supervised=',
  }.items():
    with pytest.raises(ValueError, match=message):
      text_search.build_index(
        folder / 'data', tmp_path / 'index', split='val', checkpoint=checkpoint
      )
  with pytest.raises(
    ValueError,
    match='encoder holds a pixel encoder; reading texts needs a CLIP',
  ):
    text_search.query_vector('rice', clip=folder / 'encoder')


def test_a_map_is_not_called_as_its_picture(folder, tmp_path, capsys):
  with pytest.raises(SystemExit):
    run(folder, tmp_path / 'map.png', *FLAGS)
  assert 'name the map itself' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


def test_a_month_that_is_none_is_refused(folder, tmp_path, capsys):
  with pytest.raises(SystemExit):
    run(folder, tmp_path / 'map.tif', *FLAGS, '--start', '2020-13')
  assert '--start 2020-13 is no month; write' in capsys.readouterr().err


def test_a_data_set_without_pixels_calibrates_nothing(folder, tmp_path):
  recipe = datasets.Simulated(image_size=16, images=('DEM',), splits={'val': 1})
  data = datasets.prepare(recipe, tmp_path)
  statistics = json.loads((folder / 'data' / 'statistics.json').read_text())
  (data / 'statistics.json').write_text(json.dumps(statistics))
  with pytest.raises(ValueError, match='has no pixels; name a data set of'):
    temperature.calibrate(
      folder / 'encoder',
      data,
      prompts=folder / 'prompts.npz',
      label='land_cover',
    )


def test_a_cut_file_of_vectors_is_told(folder, tmp_path):
  path = tmp_path / 'cut.npz'
  path.write_bytes((folder / 'prompts.npz').read_bytes()[:100])
  with pytest.raises(ValueError, match='cut.npz: it is cut short or no .npz'):
    prompt_files.read(path)


@pytest.mark.parametrize('flags', [('--count', '0'), ('--apart_m', '-1')])
def test_no_answers_or_negative_distances_are_refused(flags, tmp_path, capsys):
  with pytest.raises(SystemExit):
    app.main(['search', 'rice', '--index', str(tmp_path), *flags])
  assert 'at least 1 answer and 0 metres' in capsys.readouterr().err


def test_texts_need_clip_or_vectors(folder, tmp_path):
  (tmp_path / 'texts.json').write_text(json.dumps({'a': 'some text'}))
  with pytest.raises(ValueError, match='--clip'):
    text_search.query_vector('rice')
  with pytest.raises(ValueError, match='texts only'):
    text_search.query_vector('a', prompts=tmp_path / 'texts.json')
  with pytest.raises(ValueError, match="knows no 'rice'; it has Water"):
    text_search.query_vector('rice', prompts=folder / 'prompts.npz')
  with pytest.raises(ValueError, match='there is no CLIP to compute them'):
    class_prompts.load_classifier(
      folder / 'encoder', prompts=tmp_path / 'texts.json'
    )


@pytest.mark.parametrize('exact', [True, False])
def test_the_index_finds_the_nearest(tmp_path, monkeypatch, exact):
  if not exact:
    monkeypatch.setattr(index, '_EXACT', 100)
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(4_000, 8)).astype(np.float32)
  vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
  lon, lat = rng.uniform(5, 6, (2, 4_000))

  def parts():
    for start in range(0, 4_000, 1_000):
      at = slice(start, start + 1_000)
      yield lon[at], lat[at], vectors[at], None

  made = index.build(tmp_path, parts, 4_000, about={'source': 'test'})
  query = rng.normal(size=8)
  result = made.search(query, 10)
  cosines = vectors @ (query / np.linalg.norm(query))
  expected = np.argsort(-cosines)[:10]
  assert len(set(result.keys) & set(expected.astype(str))) >= (
    10 if exact else 8
  )
  np.testing.assert_allclose(
    result.scores, cosines[result.keys.astype(int)], atol=1e-2
  )
  apart = made.search(query, 10, apart_m=30_000)
  distances = geo.distance_km(
    apart.lat[:, None], apart.lon[:, None], apart.lat, apart.lon
  )
  assert apart.keys[0] == made.search(query, 1).keys[0]
  assert distances[np.triu_indices(len(distances), 1)].min() >= 30


def test_an_index_refuses_what_does_not_fit(tmp_path):
  with pytest.raises(FileNotFoundError, match='--build'):
    index.Index(tmp_path)
  with pytest.raises(ValueError, match='no embedding'):
    index.build(tmp_path, lambda: iter(()), 0, about={'source': 'x'})
  made = index.build(
    tmp_path,
    lambda: iter(
      [(np.zeros(1), np.zeros(1), np.ones((1, 4), np.float32), None)]
    ),
    1,
    about={'source': 'x'},
  )
  with pytest.raises(ValueError, match='3 dimensions, the index has 4'):
    made.search(np.ones(3), 1)
  with pytest.raises(ValueError, match='not finite'):
    index.build(
      tmp_path,
      lambda: iter([(np.zeros(1), np.zeros(1), np.full((1, 4), np.nan), None)]),
      1,
      about={'source': 'x'},
    )
