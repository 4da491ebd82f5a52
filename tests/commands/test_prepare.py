"""`fusion-jax prepare`: flags of every data set, old flags, help."""

import json
import re
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from fusion_jax import datasets
from fusion_jax.commands import app, prepare

SMALL = '--image-size 16 --splits train=4 val=1 --images DEM --num-workers 1'


def run(line):
  app.main(['prepare', *line.split()])


def fails(line, capsys):
  """Runs a command that fails; returns its one line of error."""
  with pytest.raises(SystemExit) as stop:
    run(line)
  assert stop.value.code
  (text,) = capsys.readouterr().err.strip().splitlines()
  return text


@pytest.fixture
def prepare_calls(monkeypatch):
  """The arguments of each call of `datasets.prepare`, which writes nothing."""
  calls = []
  monkeypatch.setattr(
    datasets, 'prepare', lambda *arguments: calls.append(arguments)
  )
  return calls


def test_a_job_array_writes_a_data_set(tmp_path):
  run(f'simulated --out {tmp_path} {SMALL} --shard 0/2')
  assert not (tmp_path / 'statistics.json').exists()
  run(f'simulated --out {tmp_path} {SMALL} --shard=1/2')
  source = tfds.builder_from_directory(tmp_path).as_data_source('train')
  assert len(source) == 4


def test_flags_are_the_fields_of_the_recipe(prepare_calls, tmp_path):
  run(
    f'sen4map --source {tmp_path} --out d --size 9 --missing-bands B8A B2 '
    '--photos p.safetensors --eunis-table t.csv --max-bad 0.5 --shard 3/16'
  )
  assert prepare_calls == [
    (
      datasets.Sen4Map(
        source=str(tmp_path),
        size=9,
        missing_bands=('B8A', 'B2'),
        photos='p.safetensors',
        eunis_table='t.csv',
      ),
      'd',
      datasets.BuildSettings(max_bad=0.5, shard=(3, 16)),
    )
  ]


def test_underscores_of_before_are_read(prepare_calls):
  run(
    'sen4map --source s --out d --missing_bands B8A --num_workers 2 '
    '--eunis_table=t.csv'
  )
  ((recipe, _, settings),) = prepare_calls
  assert recipe.missing_bands == ('B8A',) and settings.num_workers == 2
  assert recipe.eunis_table.endswith('/t.csv')


def test_blocks_and_stations_are_json_files(prepare_calls, tmp_path):
  blocks, stations = tmp_path / 'blocks.json', tmp_path / 'stations.json'
  blocks.write_text('{"train": {"start": "2020-01-01", "end": "2020-02-01"}}')
  declared = dict(
    paths=['a.csv'],
    places={'a': [1, 2]},
    station='name',
    time='time',
    time_zone='UTC',
    temperature=['temp', 'degF'],
  )
  stations.write_text(json.dumps(declared))
  run(
    f'series --series t2m_hourly tp_hourly --blocks {blocks} --stations '
    f'{stations} --out d'
  )
  ((recipe, _, _),) = prepare_calls
  assert recipe.series == ('t2m_hourly', 'tp_hourly')
  assert recipe.blocks == {'train': datasets.Block('2020-01-01', '2020-02-01')}
  assert recipe.stations.temperature == ('temp', 'degF')


def test_steps_get_their_arguments(monkeypatch):
  calls = []
  for name in (
    'fetch_scenicness',
    'write_codes',
    'write_photo_vectors',
    'write_prompt_vectors',
  ):
    monkeypatch.setattr(datasets, name, lambda step: calls.append(step) or 0)
  run('tokenize --data d --tokenizers a b --image_size 64 --shard 1/2')
  run('photos --source p --out v --clip c --photos_per_file 3')
  run('prompts --out v --clip c --tasks crops --all_classes')
  run('scenicness --out s --clip c')
  assert calls == [
    datasets.Codes(
      data='d', tokenizers=('a', 'b'), image_size=64, shard=(1, 2)
    ),
    datasets.PhotoVectors(source='p', out='v', clip='c', photos_per_file=3),
    datasets.PromptVectors(
      out='v', clip='c', tasks=('crops',), all_classes=True
    ),
    datasets.Scenicness(out='s', clip='c'),
  ]


@pytest.mark.parametrize(
  'line, message',
  [
    ('simulated --out d --survey x', '--survey is no flag of simulated, but '),
    ('simulated --out d --survey=x', '--survey is .* of sen4map; see'),
    ('sen4map --source s --out d --weather w', 'of samples, terramesh, series'),
    ('sen4map --source s --out d --tokenizers w', 'but of tokenize'),
    ('simulated --out d --num_train 4', '--num-train is now .*splits train=N'),
    ('simulated --out d --num_test=4', '--num-test is now '),
    ('prompts --out d --clip c --task crops', '--task is now --tasks'),
    ('simulated --out d --imagesize 4', 'flag --imagesize. .* --image-size'),
    ('sen4mapp --out d', "'sen4mapp'. Did you mean sen4map"),
    ('', 'choose among simulated, samples'),
    ('simulated', 'needs --out'),
    ('samples --out d', 'needs --source'),
    ('simulated --out d --splits train:4', "'train:4' is not SPLIT=N"),
    ('simulated --out d --splits all=4', r"simulated has no split \['all'\]"),
    ('simulated --out d --shard 2/2', "'2/2' is not I/N"),
    ('simulated --out d --shard=-1/2', "'-1/2' is not I/N"),
    ('simulated --out d --shard a/b', "'a/b' is not I/N"),
    ('simulated --out d --images S2', "--images: there is no 'S2'"),
    ('simulated --out d --seed x', "'x' is not a whole number"),
    ('terramesh --source nowhere --out d', "nowhere' is no folder"),
    ('series --series tp_hourly --out d --blocks no.json', 'no.json: No such'),
    ('tokenize --data nowhere --tokenizers nowhere', 'nowhere'),
  ],
)
def test_what_a_user_can_get_wrong_is_one_line(line, message, capsys):
  text = fails(line, capsys)
  assert text.startswith('fusion-jax prepare')
  assert re.search(message, text), text


@pytest.mark.parametrize('name', prepare.STEPS)
def test_help_shows_the_arguments_of_one_data_set_and_nothing_else(
  name, capsys, monkeypatch
):
  monkeypatch.setenv('COLUMNS', '80')
  with pytest.raises(SystemExit):
    run(f'{name} --help')
  text = capsys.readouterr().out
  shown = set(re.findall(r'^[│ ] (--[a-z-]+)', text, re.M))
  assert shown == prepare.STEPS[name].flags
  assert len(text.splitlines()) < 68


def test_every_field_has_a_sentence_of_help(capsys, monkeypatch):
  monkeypatch.setenv('COLUMNS', '1000')
  for name, step in prepare.STEPS.items():
    with pytest.raises(SystemExit):
      run(f'{name} --help')
    lines = [x.strip('│| ') for x in capsys.readouterr().out.splitlines()]
    entries = re.split(r'\n(?=--)', '\n'.join(lines))
    for flag in step.flags:
      (entry,) = (x for x in entries if x.startswith(f'{flag} '))
      assert re.search(r'[A-Z][^.]+ [^.]+\.|\(default', entry), entry


def test_help_of_the_command_lists_all_names_in_80_columns(capsys):
  with pytest.raises(SystemExit):
    run('--help')
  text = capsys.readouterr().out
  assert all(f'  {name} ' in text for name in prepare.STEPS)
  assert max(map(len, text.splitlines())) <= 80


def test_help_imports_neither_jax_nor_readers():
  program = (
    'import sys\n'
    'from fusion_jax.commands import app\n'
    'try:\n'
    "  app.main(['prepare', 'sen4map', '--help'])\n"
    'except SystemExit:\n'
    '  pass\n'
    "heavy = {'jax', 'flax', 'tensorflow_datasets', 'grain', 'h5py', 'zarr',\n"
    "         'rasterio', 'xarray', 'array_record', 'matplotlib', 'scipy'}\n"
    'sys.exit(str(heavy & set(sys.modules) or 0))\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True
  )
  assert done.stderr.strip() in ('', '0'), done.stderr


def test_the_module_is_the_command(tmp_path):
  done = subprocess.run(
    [sys.executable, '-m', 'fusion_jax.prepare', 'landsat'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert "there is no 'landsat'" in done.stderr
