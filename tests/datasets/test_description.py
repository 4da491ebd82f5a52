"""`prepare.json`: recipes to JSON and back, and descriptions of before."""

import dataclasses
import json
import typing

import pytest

from fusion_jax import datasets, modalities, simulation
from fusion_jax.data import composites, examples
from fusion_jax.datasets import description, labelled, recipe, series

WEATHER = dict(
  weather=('/data/era5',),
  alignment='bilinear',
  outside='missing',
  temperature='tas',
  precipitation='pr',
  reset_hours=24,
)
BLOCK = datasets.Block('2020-01-01', '2020-02-01', (1, 2), (3, 4), 5)
STATIONS = datasets.Stations(
  paths=('/data/a.csv',),
  places={'a': (1.0, 2.0)},
  station='name',
  time=('year', 'month', 'day', 'hour'),
  time_zone='UTC',
  temperature=('temp', 'degF'),
  hour_of_sum='starts',
  missing=('', '-'),
)
# Every field has another value than its default.
RECIPES = [
  datasets.Simulated(
    seed=3,
    image_size=16,
    splits={'val': 4, 'train': 2},
    images=('S2L2A', 'DEM'),
    examples_per_shard=7,
    compression='zstd:1',
  ),
  datasets.SimulatedPixels(
    seed=3,
    size=5,
    splits={'train': 2},
    composite='clear',
    examples_per_shard=7,
    compression='zstd:1',
  ),
  datasets.Samples(
    source='/data/samples',
    images=('NDVI', 'LULC'),
    val=('b', 'a'),
    compression='zstd:1',
    **WEATHER,
  ),
  datasets.TerraMesh(
    source='/data/terramesh',
    images=('NDVI',),
    compression='zstd:1',
    **WEATHER,
  ),
  datasets.Series(
    series=('tp_hourly', 't2m_hourly'),
    blocks={'train': BLOCK},
    compression='zstd:1',
    **WEATHER,
  ),
  datasets.Series(
    series=('tp_hourly',), blocks={'train': BLOCK}, stations=STATIONS
  ),
  datasets.Sen4Map(
    source='/data/sen4map',
    size=9,
    composite='clear',
    missing_bands=('B8A', 'B2'),
    **{name: f'/data/{name}' for name in labelled.JOINED},
    examples_per_shard=7,
    compression='zstd:1',
  ),
  datasets.WorldCereal(source='/data/a.parquet', compression='zstd:1'),
]


@pytest.mark.parametrize('made', RECIPES, ids=lambda made: made.name)
def test_a_recipe_is_read_back_from_its_description(made, tmp_path):
  description.write(made, tmp_path)
  content = json.loads((tmp_path / 'prepare.json').read_text())
  assert datasets.from_json(content) == made
  assert description.differences(description.read(tmp_path), made) == {}


@pytest.mark.parametrize('made', RECIPES, ids=lambda made: made.name)
def test_a_difference_in_any_field_is_named(made, tmp_path):
  description.write(made, tmp_path)
  stored = description.read(tmp_path)
  for field in dataclasses.fields(made):
    other = stored | {field.name: 'other'}
    assert set(description.differences(other, made)) == {field.name}


def test_there_is_a_round_trip_for_every_data_set():
  assert {made.name for made in RECIPES} == set(datasets.DATASETS)


COMMON = {'layout': '1.0.0', 'compression': 'uncompressed', 'images': []}
ARCHIVE = COMMON | {
  'source': '/data',
  'val': [],
  'weather': ['/data/era5'],
  'alignment': 'nearest',
  'outside': 'error',
  'temperature': '',
  'precipitation': '',
  'reset_hours': 0,
}
SIMULATED = COMMON | {
  'version': '0.1.0',
  'seed': 0,
  'splits': {'train': 9},
  'examples_per_shard': 256,
}
# As version 0.1 wrote them.
OLDER = [
  (
    SIMULATED | {'dataset': 'simulated', 'image_size': 16},
    datasets.Simulated(splits={'train': 9}, image_size=16),
  ),
  (
    SIMULATED
    | {'dataset': 'simulated_pixels', 'size': 1, 'composite': 'published'},
    datasets.SimulatedPixels(splits={'train': 9}),
  ),
  (
    ARCHIVE | {'dataset': 'samples', 'val': ['a', 'b'], 'images': ['DEM']},
    datasets.Samples(
      source='/data', weather=('/data/era5',), val=('b', 'a'), images=('DEM',)
    ),
  ),
  (
    ARCHIVE | {'dataset': 'terramesh'},
    datasets.TerraMesh(source='/data', weather=('/data/era5',)),
  ),
  (
    ARCHIVE
    | {
      'dataset': 'series',
      'source': '',
      'series': ['t2m_hourly'],
      'blocks': {'train': {'start': '2020-01-01', 'end': '2020-02-01'}},
      'stations': {},
    },
    datasets.Series(
      weather=('/data/era5',),
      series=('t2m_hourly',),
      blocks={'train': datasets.Block('2020-01-01', '2020-02-01')},
    ),
  ),
  (
    ARCHIVE
    | {
      'dataset': 'series',
      'source': '',
      'weather': [],
      'series': ['t2m_hourly'],
      'blocks': {'train': {'start': '2020-01-01', 'end': '2020-02-01'}},
      'stations': {
        'paths': ['a.csv'],
        'places': {'a': [1, 2]},
        'station': 'name',
        'time': 'time',
        'time_zone': 'UTC',
        'temperature': ['temp', 'degF'],
      },
    },
    datasets.Series(
      series=('t2m_hourly',),
      blocks={'train': datasets.Block('2020-01-01', '2020-02-01')},
      stations=datasets.Stations(
        paths=('a.csv',),
        places={'a': (1, 2)},
        station='name',
        time='time',
        time_zone='UTC',
        temperature=('temp', 'degF'),
      ),
    ),
  ),
  (
    COMMON
    | {
      'dataset': 'sen4map',
      'source': '/data',
      'size': 9,
      'composite': 'published',
      'missing_bands': ['B8A'],
      'joined': {'survey': '/survey.csv', 'eunis_table': '/table.csv'},
      'examples_per_shard': 256,
    },
    datasets.Sen4Map(
      source='/data',
      size=9,
      missing_bands=('B8A',),
      survey='/survey.csv',
      eunis_table='/table.csv',
    ),
  ),
  (
    COMMON | {'dataset': 'worldcereal', 'source': '/a.parquet'},
    datasets.WorldCereal(source='/a.parquet'),
  ),
]


@pytest.mark.parametrize(
  'content, made', OLDER, ids=lambda x: getattr(x, 'name', None)
)
def test_a_description_of_version_0_1_is_recognised(content, made, tmp_path):
  (tmp_path / 'prepare.json').write_text(json.dumps(content))
  assert datasets.from_json(content) == made
  assert description.differences(description.read(tmp_path), made) == {}


def test_other_versions_of_layout_and_simulated_earth_are_other_data(tmp_path):
  made = datasets.Simulated()
  for name in ('layout', 'version'):
    content = datasets.to_json(made) | {name: '0.0'}
    (tmp_path / 'prepare.json').write_text(json.dumps(content))
    stored = description.read(tmp_path)
    assert set(description.differences(stored, made)) == {name}


@pytest.mark.parametrize(
  'content, message',
  [
    ('{"dataset": "landsat"}', "json is not .*no data set 'landsat'"),
    ('{"layout": "1"}', 'does not name its data set'),
    ('{"dataset": "worldcereal"}', "'worldcereal' needs a value of source"),
    ('{"dataset": "worldcereal", "source": "a", "b": 1}', "no field 'b'"),
    ('{', 'prepare.json is not understood'),
  ],
)
def test_what_is_no_description_is_named_with_its_file(
  tmp_path, content, message
):
  (tmp_path / 'prepare.json').write_text(content)
  with pytest.raises(ValueError, match=message):
    description.read(tmp_path)
  with pytest.raises(ValueError, match='--overwrite to replace'):
    datasets.prepare(datasets.Simulated(), tmp_path)


def test_the_nearest_data_set_is_suggested():
  with pytest.raises(ValueError, match="'sen4mapp'.*Did you mean 'sen4map'"):
    datasets.find('sen4mapp')


def test_settings_are_no_fields_of_a_recipe():
  with pytest.raises(ValueError, match="no field 'num_workers'; .*image_size"):
    datasets.from_fields('simulated', dict(num_workers=1))


def test_recipes_differ_only_where_it_matters(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  assert datasets.Samples(
    source='a', images=('NDVI', 'DEM'), val=('b', 'a')
  ) == datasets.Samples(
    source=str(tmp_path / 'a'), images=('DEM', 'NDVI'), val=('a', 'b')
  )


@pytest.mark.parametrize(
  'name, fields, message',
  [
    ('simulated', dict(image_size=8), 'image_size=8 of simulated is not a'),
    ('simulated', dict(seed=-1), 'seed=-1'),
    ('simulated', dict(splits={'all': 3}), r"no split \['all'\]; there are"),
    ('simulated', dict(splits={'val': 0}), 'val=0 of simulated is not a whole'),
    ('simulated', dict(splits={}), 'splits of simulated is empty'),
    ('simulated', dict(images=['S2']), "images of simulated has 'S2'; choose"),
    ('simulated', dict(images=['DEM', 'DEM']), 'names a value twice'),
    ('simulated', dict(compression='zip'), "compression='zip'.*write 'uncom"),
    ('simulated', dict(examples_per_shard=0), 'examples_per_shard=0'),
    ('simulated_pixels', dict(size=2), 'size=2 .* none of 1, 3, 5, 7, 9'),
    ('simulated_pixels', dict(composite='mean'), "composite='mean'"),
    ('samples', dict(source='a', alignment='up'), "alignment='up' of samples"),
    ('terramesh', dict(source='a', reset_hours=-1), 'reset_hours=-1'),
    ('terramesh', dict(source='a', outside='no'), "outside='no'"),
    ('sen4map', dict(source='a', missing_bands=['B9']), "has 'B9'; choose"),
    ('sen4map', dict(source='a', size=0), 'size=0'),
    ('sen4map', dict(), "'sen4map' needs a value of source"),
  ],
)
def test_fields_that_do_not_fit_are_refused(name, fields, message):
  with pytest.raises(ValueError, match=message):
    datasets.from_fields(name, fields)


def test_choices_are_those_of_the_readers():
  """The recipes write them out, so that help needs no other package."""
  assert set(typing.get_args(recipe.ImageName)) == set(examples.IMAGE_TYPES)
  assert set(typing.get_args(recipe.ImageName)) == set(simulation.FIELDS)
  assert typing.get_args(recipe.Composite) == composites.KINDS
  assert typing.get_args(labelled.Band) == composites.BANDS
  assert set(typing.get_args(series.SeriesName)) == set(examples.SERIES)
  assert set(typing.get_args(series.SeriesName)) < set(modalities.MODALITIES)
