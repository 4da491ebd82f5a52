"""Rasters are opened by their content; nothing leads to another file."""

import contextlib
import http.server
import json
import pathlib
import socket
import struct
import threading
import time

import numpy as np
import pytest
import rasterio

from fusion_jax.data.sources.imagery import encoding, links, open_source, stac
from fusion_jax.untrusted import memory, rasters

VALUES = np.arange(35, dtype=np.uint16).reshape(1, 7, 5) + 500


def write(path, values=VALUES, **options):
  profile = dict(driver='GTiff', count=len(values), dtype=values.dtype)
  profile |= dict(height=values.shape[1], width=values.shape[2])
  profile |= dict(
    crs='EPSG:32631', transform=rasterio.Affine(10, 0, 0, 0, -10, 0)
  )
  with rasterio.open(path, 'w', **profile | options) as file:
    file.write(values)
  return path


def vrt(path, source, relative=0, kind='', more=''):
  path.write_text(
    f'<VRTDataset rasterXSize="5" rasterYSize="7"><GeoTransform>'
    '0,10,0,0,0,-10</GeoTransform><VRTRasterBand '
    f'dataType="UInt16" band="1" {kind}>{more}<SimpleSource><SourceFilename '
    f'relativeToVRT="{relative}">{source}</SourceFilename>'
    '<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>'
  )
  return path


@pytest.mark.parametrize(
  'name, options',
  [
    ('a.tif', {}),
    ('a', {}),
    ('a.tif', {'BIGTIFF': 'YES'}),
    ('a.tif', {'driver': 'COG'}),
    ('a.jp2', {'driver': 'JP2OpenJPEG', 'REVERSIBLE': 'YES', 'QUALITY': '100'}),
  ],
)
def test_geotiff_and_jpeg_2000_are_read_whatever_their_name(
  name, options, tmp_path
):
  path = write(tmp_path / name, **options)
  with rasters.opened(path) as file:
    np.testing.assert_array_equal(file.read(), VALUES)


def test_a_vrt_behind_another_name_is_refused(tmp_path):
  secret = write(tmp_path / 'secret.tif')
  for name in ('a.tif', 'a.jp2', 'a'):
    path = vrt(tmp_path / name, secret)
    assert rasterio.open(path).read(1)[0, 0] == 500  # GDAL itself follows.
    with pytest.raises(ValueError, match=f'{name} is a text that refers to'):
      rasters.opened(path)


def test_a_vrt_of_local_rasters_is_read_by_its_name(tmp_path):
  write(tmp_path / 'b.tif')
  with rasters.opened(vrt(tmp_path / 'a.vrt', 'b.tif', 1)) as file:
    np.testing.assert_array_equal(file.read(), VALUES)


@pytest.mark.parametrize(
  'source',
  [
    '/vsicurl/http://127.0.0.1:1/b.tif',
    'http://127.0.0.1:1/b.tif',
    'NETCDF:b.nc:x',
    'missing.tif',
  ],
)
def test_a_vrt_that_leads_elsewhere_is_refused(source, tmp_path):
  with pytest.raises(ValueError, match='a.vrt refers to'):
    rasters.opened(vrt(tmp_path / 'a.vrt', source, 1))


def test_a_vrt_of_vrts_or_of_code_is_refused(tmp_path):
  write(tmp_path / 'b.tif')
  vrt(tmp_path / 'c.vrt', 'b.tif', 1)
  with pytest.raises(ValueError, match='a VRT itself'):
    rasters.opened(vrt(tmp_path / 'a.vrt', 'c.vrt', 1))
  vrt(tmp_path / 'c.tif', 'b.tif', 1)
  with pytest.raises(ValueError, match='c.tif is a text that refers'):
    rasters.opened(vrt(tmp_path / 'a.vrt', 'c.tif', 1))
  for kind, more in (
    (
      'subClass="VRTDerivedRasterBand"',
      '<PixelFunctionType>x</PixelFunctionType>',
    ),
    ('subClass="VRTRawRasterBand"', ''),
  ):
    with pytest.raises(ValueError, match='which is not read in a VRT'):
      rasters.opened(vrt(tmp_path / 'a.vrt', 'b.tif', 1, kind, more))
  path = tmp_path / 'a.vrt'
  path.write_text('<?xml version="1.0"?><!--x--><VRTDataset><!DOCTYPE a>')
  with pytest.raises(ValueError, match='which is not read in a VRT'):
    rasters.opened(path)


@pytest.mark.parametrize('ending', ['.msk', '.ovr'])
def test_files_beside_a_raster_do_not_lead_elsewhere(ending, tmp_path):
  path = write(tmp_path / 'a.tif')
  beside = tmp_path / f'a.tif{ending}'
  write(beside, np.full((1, 7, 5), 255, np.uint8))
  rasters.opened(path).close()
  vrt(beside, write(tmp_path / 'secret.tif'))
  with pytest.raises(ValueError, match=rf'a.tif{ending} is a text that refers'):
    rasters.opened(path)


def test_metadata_beside_a_raster_do_not_lead_elsewhere(tmp_path):
  path = write(tmp_path / 'a.tif')
  aux = tmp_path / 'a.tif.aux.xml'
  aux.write_text(
    '<PAMDataset><Metadata><MDI key="A">b</MDI></Metadata></PAMDataset>'
  )
  rasters.opened(path).close()
  aux.write_text(
    '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
    '/etc/x</MDI></Metadata></PAMDataset>'
  )
  with pytest.raises(ValueError, match='aux.xml refers to other files'):
    rasters.opened(path)


@pytest.mark.parametrize(
  'content', [b'', b'GIF89a', b'<WMS_GDAL>', b'\x89HDF\r\n\x1a\n', b'PK\3\4']
)
def test_other_formats_are_refused(content, tmp_path):
  path = tmp_path / 'a.tif'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='a.tif cannot be read as a raster'):
    rasters.opened(path)


def test_a_block_larger_than_memory_may_hold_is_refused(tmp_path, monkeypatch):
  path = write(
    tmp_path / 'a.tif',
    np.zeros((1, 600, 2000), np.uint16),
    BLOCKYSIZE=600,
    compress='deflate',
  )
  rasters.opened(path).close()
  monkeypatch.setenv(memory.VARIABLE, '2M')
  with pytest.raises(ValueError, match=r'a.tif: a block of \(600, 2000\)'):
    rasters.opened(path)


def test_a_tile_of_jpeg_2000_larger_than_memory_is_refused(tmp_path):
  path = write(tmp_path / 'a.jp2', driver='JP2OpenJPEG')
  content = bytearray(path.read_bytes())
  at = content.find(b'\xff\x4f\xff\x51') + 8
  struct.pack_into('>II', content, at, 2**31 - 1, 2**31 - 1)
  struct.pack_into('>II', content, at + 16, 2**31 - 1, 2**31 - 1)
  path.write_bytes(content)
  with pytest.raises(ValueError, match='a.jp2: a tile of 2147483647 x'):
    rasters.opened(path)


def test_more_tiles_of_jpeg_2000_than_memory_can_list_are_refused(tmp_path):
  path = write(tmp_path / 'a.jp2', driver='JP2OpenJPEG')
  content = bytearray(path.read_bytes())
  at = content.find(b'\xff\x4f\xff\x51') + 8
  struct.pack_into('>II', content, at, 2**31 - 1, 2**31 - 1)
  struct.pack_into('>II', content, at + 16, 7, 7)
  path.write_bytes(content)
  with pytest.raises(ValueError, match='a.jp2: a list of .* tiles would take'):
    rasters.opened(path)


def test_bands_that_fit_no_memory_are_not_read(tmp_path, monkeypatch):
  path = write(
    tmp_path / 'a.tif', np.zeros((2, 512, 512), np.uint16), tiled=True
  )
  monkeypatch.setenv(memory.VARIABLE, '1M')
  with rasters.opened(path) as raster:
    rasters.check_read(raster, 1, path)
    with pytest.raises(ValueError, match='a.tif: 4 bands of 512 x 512 pixels'):
      rasters.check_read(raster, 4, path)


ITEM = pathlib.Path('/data/items/a.json')


@pytest.mark.parametrize(
  'href, place',
  [
    ('b.tif', '/data/items/b.tif'),
    ('./x/../b.tif', '/data/items/b.tif'),
    ('/data/items/x/b.tif', '/data/items/x/b.tif'),
    ('file:///data/items/b%20c.tif', '/data/items/b c.tif'),
  ],
)
def test_links_into_the_folder_are_followed(href, place):
  assert links.resolve(href, ITEM) == place


@pytest.mark.parametrize(
  'href',
  [
    '../b.tif',
    'x/../../b.tif',
    '/etc/passwd',
    'file:///etc/passwd',
    '/vsicurl/http://a.org/b.tif',
    '/data/items_of_others/b.tif',
  ],
)
def test_links_out_of_the_folder_are_refused(href):
  with pytest.raises(ValueError, match='a.json has an asset at'):
    links.resolve(href, ITEM)


def test_the_folder_that_the_user_named_counts():
  assert links.resolve('../b.tif', ITEM, '/data') == '/data/b.tif'
  with pytest.raises(ValueError, match='outside of its folder /data'):
    links.resolve('../../b.tif', ITEM, '/data')


@pytest.mark.parametrize(
  'href', ['zip:///a.zip!b.tif', 'ftp://a.org/b', 'zip+https://a.org/b', '', 3]
)
def test_other_kinds_of_links_are_refused(href):
  with pytest.raises(ValueError, match='a.json has an asset'):
    links.resolve(href, ITEM, hosts=('a.org',))


@pytest.mark.parametrize('host', ['a.org', 'A.org', 'org'])
def test_hosts_are_allowed_with_their_subdomains(host):
  href = 'https://x.a.org:8080/b.tif?sig=1'
  with pytest.raises(ValueError, match='--hosts x.a.org'):
    links.resolve(href, ITEM)
  assert links.resolve(href, ITEM, hosts=(host,)) == href


@pytest.mark.parametrize('host', ['b.org', 'xa.org', 'x', ''])
def test_other_hosts_are_refused(host):
  for href in ('https://xxa.org/b.tif', 'https://a.org@evil.net/b.tif'):
    with pytest.raises(ValueError, match='nothing is fetched'):
      links.resolve(href, ITEM, hosts=(host, 'a.org'))


def item(folder, href):
  content = {
    'id': 'a',
    'properties': {'datetime': '2020-01-01T10:00:00Z'},
    'assets': {'B02': {'href': href, 'eo:bands': [{'name': 'B02'}]}},
  }
  folder.mkdir(exist_ok=True)
  (folder / 'a.json').write_text(json.dumps(content))
  return folder / 'a.json'


def test_an_item_reads_no_file_outside_of_its_folder(tmp_path):
  write(tmp_path / 'secret.tif')
  path = item(tmp_path / 'items', '../secret.tif')
  with pytest.raises(ValueError, match='outside of its folder'):
    stac.layers(path)
  with pytest.raises(ValueError, match='outside of its folder'):
    open_source.open_source([path])
  assert open_source.open_source([tmp_path]).bands == ('B2',)


@contextlib.contextmanager
def served(handler):
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield server.server_address[1]
  finally:
    server.shutdown()
    server.server_close()


def test_nothing_is_fetched_from_a_host_that_is_not_allowed(tmp_path):
  asked = []

  class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
      asked.append(self.path)
      self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *args):
      pass

  with served(Handler) as port:
    path = item(tmp_path / 'items', f'http://127.0.0.1:{port}/b.tif')
    with pytest.raises(ValueError, match='--hosts 127.0.0.1'):
      open_source.open_source([path])
    assert not asked
    declared = encoding.Declared(hosts=('127.0.0.1',))
    with pytest.raises(ValueError, match='b.tif cannot be read as a raster'):
      open_source.open_source([path], declared)
    assert asked and not [x for x in asked if not x.startswith('/b.tif')]


def test_a_silent_host_is_given_up(monkeypatch):
  monkeypatch.setitem(rasters._PATIENCE, 'GDAL_HTTP_LOW_SPEED_TIME', 1)
  with socket.create_server(('127.0.0.1', 0)) as server:
    port, start = server.getsockname()[1], time.monotonic()
    with pytest.raises(ValueError, match='cannot be read as a raster'):
      rasters.opened(f'http://127.0.0.1:{port}/b.tif')
    assert time.monotonic() - start < 60
