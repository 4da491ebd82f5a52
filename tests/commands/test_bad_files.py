"""No command shows a traceback for a bad file: one line names it and helps."""

import json
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest
import rasterio
from safetensors import numpy as safetensors_numpy

from fusion_jax.commands import app

DATA = pathlib.Path(__file__).resolve().parents[1] / 'testdata'
EARLIER = DATA / 'earlier'


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  """Files that no command can use, and models of every kind."""
  folder = tmp_path_factory.mktemp('bad')
  for name, archive in {
    'encoder': 'maps/encoder',
    'classifier': 'maps/classifier',
    'clip': 'converted/clip',
    'backbone': 'converted/backbone',
    'tokenizer': 'trained/image_tokenizer',
    'data': 'data/simulated_pixels',
  }.items():
    with zipfile.ZipFile(EARLIER / f'{archive}.zip') as file:
      file.extractall(folder / name)
  content = (EARLIER / 'maps' / 'cube.nc').read_bytes()
  (folder / 'cut.nc').write_bytes(content[:3000])
  (folder / 'cut.tif').write_bytes(b'II*\0\xff\xff\xff\xff' + bytes(50))
  (folder / 'text.tif').write_text('<VRTDataset rasterXSize="1"/>')
  (folder / 'deep.json').write_text('[' * 100_000 + ']' * 100_000)
  (folder / 'list.json').write_text('[1]')
  block = {'start': '2019-03-01', 'end': '2019-03-05'}
  block |= {'lat': [50, 51], 'lon': [3, 4]}
  (folder / 'blocks.json').write_text(json.dumps({'train': block}))
  (folder / 'objects.npz').write_bytes(b'PK\3\4' + bytes(40))
  np.savez(folder / 'pickled.npz', classes=np.array([{}], object))
  (folder / 'wrong.csv').write_text('class,text\n"a\0b","' + 'x' * 200_000)
  (folder / 'code.pt').write_bytes(b'\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.')
  (folder / 'cut.pt').write_bytes(b'PK\3\4' + bytes(99))
  (folder / 'huge.safetensors').write_bytes(b'\xff' * 7 + b'\0' + b'{}')
  other = {'a': np.zeros((2, 2), np.float32)}
  safetensors_numpy.save_file(other, folder / 'other.safetensors')
  item = {'id': 'a', 'properties': {'datetime': '2020-01-01'}, 'assets': {}}
  for name, href in {
    'out': '/etc/passwd',
    'net': 'https://a.org/b.tif',
  }.items():
    item['assets'] = {'B02': {'href': href, 'eo:bands': [{'name': 'B02'}]}}
    (folder / f'{name}.json').write_text(json.dumps(item))
  (folder / 'a.zarr' / 'B02').mkdir(parents=True)
  (folder / 'a.zarr' / '.zgroup').write_text('{"zarr_format": 2}')
  about = {'zarr_format': 2, 'shape': [1], 'chunks': [1], 'dtype': '|O'}
  about |= {'filters': [{'id': 'pickle'}], 'compressor': None, 'order': 'C'}
  about |= {'fill_value': None}
  (folder / 'a.zarr' / 'B02' / '.zarray').write_text(json.dumps(about))
  (folder / 'photos').mkdir()
  (folder / 'photos' / 'NL_40683280W.jpg').write_text('%!PS-Adobe-3.0 EPSF-3.0')
  (folder / 'samples' / 'DEM').mkdir(parents=True)
  (folder / 'samples' / 'samples.csv').write_bytes(b'\xff\xfe\0')
  (folder / 'mesh' / 'train' / 'DEM').mkdir(parents=True)
  tar = folder / 'mesh' / 'train' / 'DEM' / 'majortom_shard_000001.tar'
  tar.write_bytes(b'x' * 600)
  (folder / 'sen4map').mkdir()
  for split in ('train', 'val', 'test'):
    (folder / 'sen4map' / f'{split}.h5').write_bytes(b'\x89HDF\r\n\x1a\nx')
  (folder / 'index').mkdir()
  (folder / 'index' / 'index.json').write_text('{')
  with rasterio.open(
    folder / 'plain.tif',
    'w',
    driver='GTiff',
    width=9,
    height=9,
    count=1,
    dtype='uint8',
    crs='EPSG:32631',
    transform=rasterio.Affine(10, 0, 0, 0, -10, 0),
  ) as file:
    file.write(np.ones((1, 9, 9), np.uint8))
  return folder


MAP = 'map --checkpoint classifier --out o.tif --scene'
GENERATE = 'generate --out o --checkpoint backbone --inputs'
CALIBRATE = 'calibrate --data data --checkpoint'
SEARCH = 'search wheat --index'
SAMPLES = 'prepare samples --out o --source'
SERIES = (
  'prepare series --series t2m_hourly --out o --blocks blocks.json --weather'
)
PROMPTS = 'map --checkpoint encoder --scene cut.nc --out o.tif --prompts'

QUICK = [
  (
    'convert clip --out o --source code.pt',
    'code.pt: its pickle asks for os.s',
  ),
  ('convert clip --out o --source cut.pt', 'cut.pt is truncated, damaged or'),
  (
    'convert clip --out o --source huge.safetensors',
    'huge.safetensors is trun',
  ),
  ('convert clip --out o --source other.safetensors', 'other.safetensors'),
  ('convert terramind --out o --source cut.pt', 'cut.pt is truncated'),
  ('convert timesenclip --out o --source code.pt', 'code.pt: its pickle asks'),
  (f'{SAMPLES} samples', 'samples.csv'),
  (f'{SERIES} cut.nc', 'cut.nc is damaged or no NetCDF file'),
  (f'{SERIES} a.zarr', "a.zarr.*'pickle', which is refused"),
  (f'{SERIES} plain.tif', 'plain.tif'),
  (f'{SERIES} cut.nc --blocks deep.json', 'deep.json nests lists or tables'),
  ('prepare terramesh --out o --source mesh', 'majortom_shard_000001.tar'),
  ('prepare sen4map --out o --source sen4map', r'\.h5 is truncated or no HDF5'),
  ('prepare worldcereal --out o --source cut.nc', 'cut.nc is cut short or no'),
  (f'{SAMPLES} none', 'none'),
  ('train --config deep.json', 'deep.json'),
  (f'{MAP} cut.nc --max-memory lots', "--max-memory: 'lots' is no size"),
  (f'{SEARCH} index', 'index'),
]
SLOW = [
  (f'{MAP} cut.nc', 'cut.nc'),
  (f'{MAP} cut.tif', 'cut.tif cannot be read as a raster'),
  (f'{MAP} text.tif', 'text.tif is a text that refers to other files'),
  (f'{MAP} deep.json', 'deep.json nests lists or tables'),
  (f'{MAP} list.json', 'list.json holds no STAC item'),
  (f'{MAP} out.json', "out.json has an asset at '/etc/passwd', outside"),
  (f'{MAP} net.json', 'net.json has an asset on the host a.org.*--hosts a.org'),
  (f'{MAP} a.zarr', "a.zarr.*'pickle', which is refused"),
  (f'{MAP} plain.tif', 'plain.tif'),
  (f'{MAP} {EARLIER}/maps/cube.nc --max-memory 2K', 'cube.nc.*--max-memory'),
  (f'{PROMPTS} deep.json', 'deep.json nests lists or tables'),
  (f'{PROMPTS} objects.npz', 'objects.npz'),
  (f'{PROMPTS} pickled.npz', 'pickled.npz: .*holds objects of Python'),
  (f'{PROMPTS} wrong.csv', 'wrong.csv'),
  (f'{PROMPTS} huge.safetensors', 'huge.safetensors'),
  (f'{PROMPTS} other.safetensors', 'other.safetensors: it lacks'),
  (f'{GENERATE} text.tif', 'text.tif is a text that refers'),
  (f'{GENERATE} cut.tif', 'cut.tif cannot be read as a raster'),
  (f'{GENERATE} net.json', 'net.json has an asset on the host a.org'),
  (f'{GENERATE} plain.tif', 'plain.tif'),
  ('prepare photos --clip clip --out o --source photos', 'NL_40683280W.jpg'),
]
# A command, the kind of checkpoint that it is given and what it needs.
KINDS = [
  (
    'map --scene x --out o.tif --checkpoint tokenizer',
    'tokenizer',
    'a tokenizer of images; a map needs a pixel encoder',
  ),
  ('map --scene x --out o.tif --checkpoint backbone', 'backbone', 'a backbone'),
  (f'{CALIBRATE} clip', 'clip', 'a CLIP; a map needs a pixel encoder'),
  (
    'generate --inputs a --out o --checkpoint encoder',
    'encoder',
    'a pixel encoder; generate needs a backbone of images and weather',
  ),
  (
    'clip-baseline --source cut.nc --data data --out o --clip tokenizer',
    'tokenizer',
    'a tokenizer of images; this baseline needs a CLIP',
  ),
  ('prepare prompts --out o.npz --clip encoder', 'encoder', 'a pixel encoder;'),
  (
    'prepare photos --source photos --out o --clip backbone',
    'backbone',
    'a backbone of images and weather; embedding photos needs a CLIP',
  ),
  (
    'search --index o --build data --checkpoint tokenizer',
    'tokenizer',
    'a tokenizer of images; an index of texts needs a pixel encoder',
  ),
]


def one_line(folder, monkeypatch, capsys, line):
  """The one line that a command ends with; nothing else looks like an error."""
  monkeypatch.chdir(folder)
  shutil.rmtree(folder / 'o', ignore_errors=True)
  with pytest.raises(SystemExit) as caught:
    app.main(line.split())
  assert caught.value.code in (1, 2)
  text = capsys.readouterr().err
  assert 'Traceback' not in text
  (message,) = [x for x in text.splitlines() if x.startswith('fusion-jax ')]
  assert text.splitlines()[-1] == message
  return message


def check(folder, monkeypatch, capsys, line, message):
  monkeypatch.setenv('FUSION_JAX_MAX_MEMORY', '4G')
  shown = one_line(folder, monkeypatch, capsys, line)
  assert re.search(message, shown), shown


@pytest.mark.parametrize('line, message', QUICK)
def test_a_bad_file_is_told_in_one_line(
  line, message, folder, monkeypatch, capsys
):
  check(folder, monkeypatch, capsys, line, message)


@pytest.mark.slow
@pytest.mark.parametrize('line, message', SLOW)
def test_a_bad_file_for_a_model_is_told_in_one_line(
  line, message, folder, monkeypatch, capsys
):
  check(folder, monkeypatch, capsys, line, message)


@pytest.mark.slow
@pytest.mark.parametrize('line, name, message', KINDS)
def test_a_checkpoint_of_another_kind_is_told_by_its_kind(
  line, name, message, folder, monkeypatch, capsys
):
  check(folder, monkeypatch, capsys, line, f'{name} holds {message}')
