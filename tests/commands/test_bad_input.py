"""What a user can get wrong is told in one line, by every command."""

import importlib
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from fusion_jax.commands import app

TESTS = pathlib.Path(__file__).resolve().parents[1]
IMAGE = TESTS / 'testdata' / 'terramesh' / 'DEM' / '282D_485L_3_3.tif'

# {package: modules of ours that import it}.
READERS = {
  'rasterio': (
    'data.sources.geotiff',
    'data.sources.imagery.crs',
    'data.sources.imagery.layers',
    'data.sources.imagery.rasters',
    'data.sources.imagery.scenes',
    'data.sources.imagery.stac',
    'data.sources.imagery.xarrays',
    'data.sources.sample_images',
    'data.sources.samples',
    'mapping.cog',
    'mapping.embeddings',
    'mapping.maps',
    'mapping.scene',
    'mapping.text_search',
  ),
  'faiss': ('mapping.index', 'mapping.text_search'),
  'h5py': ('data.sources.sen4map', 'evals.clip_baseline'),
  'skimage': (),
  'huggingface_hub': (),
}


@pytest.fixture(name='block')
def _block(monkeypatch):
  """Makes a package look as if it was not installed."""

  def block(package):
    for name in [x for x in sys.modules if x.partition('.')[0] == package]:
      monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for name in READERS[package]:
      path, _, last = f'fusion_jax.{name}'.rpartition('.')
      parent = importlib.import_module(path)
      monkeypatch.delitem(sys.modules, f'{path}.{last}', raising=False)
      monkeypatch.delattr(parent, last, raising=False)

  return block


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  """A working directory with files and folders that no command can use."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'file').touch()
  for name in ('empty', 'no_table', 'no_columns', 'no_rows', 'pictures'):
    (tmp_path / name).mkdir()
  for name in ('no_table', 'no_columns', 'no_rows'):
    (tmp_path / name / 'DEM').mkdir()
    shutil.copy(IMAGE, tmp_path / name / 'DEM')
  (tmp_path / 'no_columns' / 'samples.csv').write_text('sample_id\na\n')
  columns = 'sample_id,lat,lon,s2_datetime_utc\n'
  (tmp_path / 'no_rows' / 'samples.csv').write_text(columns)
  (tmp_path / 'pictures' / 'NL_40683280W.jpg').touch()
  (tmp_path / 'empty.py').touch()
  monkeypatch.setitem(sys.modules, 'configs', None)
  (tmp_path / 'older.py').write_text('from configs import common')
  (tmp_path / 'syntax.py').write_text('def (')
  (tmp_path / 'list.json').write_text('[]')
  return tmp_path


def error_line(capsys, line):
  """The one line that a command tells, and its status."""
  with pytest.raises(SystemExit) as caught:
    app.main(line.split())
  assert caught.value.code in (1, 2)
  lines = capsys.readouterr().err.splitlines()
  assert 'Traceback' not in lines
  return [x for x in lines if x.startswith('fusion-jax')], lines


GENERATE = 'generate --checkpoint empty --inputs a.tif --out out'
MAP = 'map --checkpoint empty --scene cube.nc --out map.tif'
SEARCH = 'search rice --index empty'
CALIBRATE = 'calibrate --checkpoint empty --data empty'
CONVERT = 'convert clip --out out --source openai/clip-vit-base-patch32'
BASELINE = 'clip-baseline --clip empty --source file --data empty --out out'

PHOTOS = 'prepare photos --clip empty --out vectors'
SAMPLES = 'prepare samples --out out'
SIMULATED = 'prepare simulated --out out'


@pytest.mark.parametrize(
  'line, package, extra',
  [
    (GENERATE, 'rasterio', 'geo'),
    (MAP, 'rasterio', 'map'),
    (SEARCH, 'faiss', 'search'),
    (CONVERT, 'huggingface_hub', 'hub'),
    (BASELINE, 'h5py', 'pixels'),
  ],
)
def test_a_missing_extra_is_named(line, package, extra, folder, block, capsys):
  block(package)
  (message,), _ = error_line(capsys, line)
  assert package in message
  assert f"pip install 'fusion_jax[{extra}]'" in message


@pytest.mark.parametrize(
  'line, message',
  [
    (f'{GENERATE} --sed 3', 'no flag --sed. Did you mean --seed?'),
    (f'{GENERATE} --checkpoint none', '--checkpoint: There is no folder none'),
    (f'{GENERATE} --checkpoint file', '--checkpoint: file is a file'),
    (f'{GENERATE} --product S2', "--product: there is no 'S2'; choose among"),
    (f'{GENERATE} --num-samples few', "--num-samples: 'few' is not a whole"),
    (GENERATE, 'empty'),
    (f'{MAP} --missing-band B8A', '--missing-band is now --missing-bands'),
    (f'{MAP} --promts x', 'no flag --promts. Did you mean --prompts?'),
    (f'{MAP} --prompts none.json', '--prompts: there is no file none.json'),
    (f'{MAP} --clip none', '--clip: There is no folder none'),
    (MAP, 'empty'),
    (SEARCH, 'empty holds no index; make one'),
    ('search --index empty', 'give a text to look for, or --build'),
    (f'{SEARCH} --count 0', '--count 0 --apart-m 0: give at least 1'),
    (f'{SEARCH} --apart_m -1', '--apart-m -1: give at least 1 answer and 0'),
    (f'{SEARCH} --indx x', 'no flag --indx. Did you mean --index?'),
    (f'{CALIBRATE} --data none', '--data: There is no folder none'),
    (f'{CALIBRATE} --lable x', 'no flag --lable. Did you mean --label?'),
    (CALIBRATE, 'empty'),
    ('convert clop', "no 'clop'. Did you mean clip?"),
    ('convert', 'choose among clip, terramind, timesenclip'),
    ('convert clip --out out', 'needs --source'),
    (
      'convert clip --out out --source none.pt',
      'none.pt is neither a file nor',
    ),
    ('convert terramind --out o --source s --variant bas', "no 'bas'; choose"),
    (f'{BASELINE} --source none', '--source: there is no file none'),
    (BASELINE, 'empty'),
    ('train --config pretrian', 'no configuration pretrian. Did you mean pre'),
    ('train', 'needs --config'),
    ('train --confg pretrain', 'no flag --confg. Did you mean --config?'),
    ('train --config.seed=1', 'needs --config'),
    ('train --config syntax.py', 'syntax.py cannot be run as Python (Syntax'),
    ('train --config older.py', 'write `from fusion_jax.configs import'),
    ('train --config empty.py', 'empty.py has no function get_config'),
    ('map --scene x --out m.tif --checkpoint=', '--checkpoint is empty'),
    (f'{PHOTOS} --source pictures', 'empty holds no checkpoint'),
    ('prepare series --series tp_hourly --out out --blocks list.json', 'table'),
    (f'{SIMULATED} --splits train=1 train=2', 'train is named twice'),
    (f'{SIMULATED} --out file', 'file is a file; give the path of a folder'),
    (f'{SAMPLES} --source empty', 'empty/samples.csv is missing; write one'),
    (f'{SAMPLES} --source no_table', 'samples.csv is missing; write one with'),
    (f'{SAMPLES} --source no_columns', 'lacks the columns lat, lon, s2_date'),
    (f'{SAMPLES} --source no_rows', 'samples.csv has no row'),
    (f'{SAMPLES} --source no_table --weather none', 'none does not exist'),
    (f'{SAMPLES} --source no_table --weather empty', 'is an empty folder'),
    ('prepare worldcereal --out out --source file', 'file is cut short or no'),
    ('gnerate', "no 'gnerate'. Did you mean generate?"),
  ],
)
def test_a_mistake_is_told_in_one_line(line, message, folder, capsys):
  (message_line,), _ = error_line(capsys, line)
  assert message in message_line


def test_a_failed_preparation_leaves_the_folder_free(folder, capsys):
  error_line(capsys, f'{SAMPLES} --source empty')
  (message,), _ = error_line(capsys, f'{SAMPLES} --source no_rows')
  assert 'has no row' in message
  error_line(capsys, f'{PHOTOS} --source pictures')
  (message,), _ = error_line(
    capsys, f'{PHOTOS} --source pictures --clip no_rows'
  )
  assert 'no_rows holds no checkpoint' in message


@pytest.mark.parametrize('line', [MAP, f'{MAP} --sed 3', 'train --config x'])
def test_verbose_shows_where_it_happened(line, folder, capsys):
  with pytest.raises(SystemExit):
    app.main([*line.split(), '--verbose'])
  text = capsys.readouterr().err
  assert 'Traceback' in text and text.splitlines()[-1].startswith('fusion-jax')


def test_a_checkpoint_of_another_kind_is_refused(folder, capsys):
  (folder / 'empty' / 'config.json').write_text(json.dumps({'task': 'clip'}))
  (message,), _ = error_line(capsys, MAP)
  assert 'empty' in message


HELPS = [*app.VERBS, 'convert clip', 'convert terramind', 'convert timesenclip']


@pytest.mark.parametrize('command', HELPS)
def test_help_fits_the_screen(command, capsys):
  with pytest.raises(SystemExit) as caught:
    app.main([*command.split(), '--help'])
  assert not caught.value.code
  text = capsys.readouterr().out
  assert f'usage: fusion-jax {command}' in text
  assert max(map(len, text.splitlines())) <= 80
  assert len(text.splitlines()) <= 80


def test_help_imports_neither_jax_nor_flax():
  program = (
    'import sys\n'
    'from fusion_jax.commands import app\n'
    f'for line in {HELPS}:\n'
    '  try:\n'
    '    app.main([*line.split(), "--help"])\n'
    '  except SystemExit:\n'
    '    pass\n'
    'heavy = {"jax", "flax", "tensorflow", "orbax", "grain", "matplotlib"}\n'
    'print(heavy & set(sys.modules), file=sys.stderr)\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    timeout=100,
    check=True,
  )
  assert done.stderr.strip() == 'set()'
