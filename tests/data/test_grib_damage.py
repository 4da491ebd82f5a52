"""Damaged GRIB messages are named by file and number, and never read."""

import calendar
import json
import pathlib
import struct

import numpy as np
import pytest
import xarray as xr

from fusion_jax.data.builders import shards, skipped, weather
from fusion_jax.data.sources import grib, grib_frames, gridded
from tests.data import placed
from tests.data.weather_fields import fields
from tests.small_archives import ERA5, GFS

RAIN = GFS / 'gfs.20200325.t18z.pgrb2.0p25.f018.APCP.grib2'  # Two messages.
SIZE = ERA5.stat().st_size // 144  # Of each message.


def first_hours(number):
  """The first messages of the file, each its own bytes."""
  content = ERA5.read_bytes()
  return [content[i * SIZE : (i + 1) * SIZE] for i in range(number)]


def noon(number):
  """Noons of March 2019."""
  days = np.arange(number) * np.timedelta64(1, 'D')
  return np.datetime64('2019-03-01T12', 'ns') + days


def written(tmp_path, *messages):
  path = tmp_path / 'damaged.grib'
  path.write_bytes(b''.join(messages))
  return path


def hours(path):
  """Hours of March 2019 whose fields are read."""
  start = calendar.timegm((2019, 3, 1, 0, 0, 0))
  records = gridded.Weather((str(path),)).records
  return [(record.end - start) // 3600 for record in records]


def cut_end(m):
  return [m[0], m[1], m[2][:-900]]


def cut_middle(m):
  return [m[0], m[1][:800] + m[1][1300:], m[2], m[3]]


def wrong_end(m):
  return [m[0], m[1][:-4] + b'7787', m[2], m[3]]


def no_beginning(m):
  return [m[0], m[1][6:], m[2], m[3]]


def longer_than_it_is(m):
  longer = m[1][:4] + (SIZE + 7).to_bytes(3, 'big') + m[1][7:]
  return [m[0], longer, m[2], m[3]]


def only_a_head(m):
  return [m[0], m[1], m[2], m[3][:9]]


def edition_9(m):
  return [m[0], m[1][:7] + b'\x09' + m[1][8:], m[2]]


def month_13(m):
  # Octets 13 to 16 of the product section: year, month, day, hour.
  return [m[0], m[1][:21] + b'\x0d' + m[1][22:], m[2]]


@pytest.mark.parametrize(
  'damage, number, reason, kept',
  [
    (cut_end, 3, f'it is cut after {SIZE - 900} of {SIZE} bytes', [0, 1]),
    (cut_middle, 2, f'does not end after {SIZE} bytes', [0, 2, 3]),
    (wrong_end, 2, f'does not end after {SIZE} bytes', [0, 2, 3]),
    (no_beginning, 2, 'its beginning is missing', [0, 2, 3]),
    (longer_than_it_is, 2, f'not end after {SIZE + 7} bytes', [0, 2, 3]),
    (only_a_head, 4, 'it is cut after 9 bytes', [0, 1, 2]),
    (edition_9, 2, 'of no edition that is known', [0, 2]),
    (month_13, 2, 'its date .* is none', [0, 2]),
  ],
)
def test_a_damaged_message_is_named_and_left_out(
  tmp_path, damage, number, reason, kept, caplog
):
  path = written(tmp_path, *damage(first_hours(4)))
  assert hours(path) == kept
  assert f'Left out message {number} of {path}' in caplog.text
  source = weather.WithWeather(placed.Places(), gridded.Weather((str(path),)))
  with pytest.raises(
    skipped.TooManyBadExamples,
    match=f'1 of . GRIB messages are damaged.*{path}, message {number} '
    f'.*{reason}.*Fetch these files again, or leave .* --max-bad',
  ):
    shards.build(source, tmp_path / 'out')
  assert not (tmp_path / 'out').exists()  # Nothing was begun.
  shards.build(source, tmp_path / 'out', max_bad=0.5)
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  (damaged,) = report['weather']['damaged']
  assert (damaged['file'], damaged['message']) == (str(path), number)
  if kept == [0, 2, 3]:
    assert report['weather']['gaps'] == {
      't2m': [{'after': '2019-03-01T00:00', 'before': '2019-03-01T02:00'}]
    }


# SciPy leaves a classic file open that it cannot read.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('kind', ['h5netcdf', 'scipy', 'html', 'empty'])
def test_a_damaged_file_of_many_is_named_and_the_rest_is_read(
  tmp_path, kind, caplog
):
  folder = tmp_path / 'weather'
  folder.mkdir()
  (folder / 'a.grib').write_bytes(b''.join(first_hours(3)))
  (folder / 'a.grib.5b7b6.idx').write_text('an index')
  (folder / 'gfs.t00z.anl').write_bytes(ERA5.read_bytes()[:40])
  other = fields(folder / 'other.nc', 'd2m', [1.0] * 3, 'K', time=noon(3))
  path = folder / 'cut.nc'
  if kind in ('html', 'empty'):
    path.write_text('<html>404</html>' if kind == 'html' else '')
  else:
    whole = fields(path, 't2m', np.full(99, 280.0), 'K', time=noon(99))
    xr.load_dataset(whole, engine='h5netcdf').to_netcdf(path, engine=kind)
    path.write_bytes(path.read_bytes()[:1500])
  source = weather.WithWeather(placed.Places(), gridded.Weather((str(folder),)))
  with pytest.raises(
    skipped.TooManyBadExamples,
    match=f'1 of 2 files of weather are damaged, .*{path} .*--max-bad 0.5',
  ):
    shards.build(source, tmp_path / 'out')
  shards.build(source, tmp_path / 'out', max_bad=0.5)
  assert f'Left out a file: {path}' in caplog.text
  for file in ('a.grib.5b7b6.idx', 'gfs.t00z.anl', other.name):
    assert f'without weather (1): {folder / file} ' in caplog.text
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())['weather']
  assert [x['file'] for x in report['damaged_files']] == [str(path)]
  assert (report['files'], report['passed_over']) == (1, 3)
  with pytest.raises(ValueError, match=f'{path}'):  # Alone, it is no weather.
    _ = gridded.Weather((str(path),)).records


def test_whole_files_have_no_damage():
  for path in [ERA5, *GFS.iterdir()]:
    frames = list(grib_frames.scan(path))
    assert frames and not any(frame.problem for frame in frames)
    assert [f.number for f in frames] == list(range(1, len(frames) + 1))


def test_bulletins_around_messages_are_no_damage(tmp_path):
  one, two = first_hours(2)
  path = written(tmp_path, b'\x01\r\r\nHTUK ECMF', one, b'\r\n\x03', two, b'\0')
  assert hours(path) == [0, 1]
  assert not gridded.Weather((str(path),)).report()['damaged']


def test_a_long_message_of_grib_1_is_measured(tmp_path):
  # 100 units of 120 bytes; 40 in the length of the data section: 11,964 bytes.
  sections = (28).to_bytes(3, 'big') + bytes(4) + b'\x80' + bytes(20)
  grid = (32).to_bytes(3, 'big') + bytes(29)
  data = (40).to_bytes(3, 'big')
  head = b'GRIB' + (0x800000 | 100).to_bytes(3, 'big') + b'\x01'
  body = head + sections + grid + data
  message = body + bytes(11_964 - len(body) - 4) + b'7777'
  assert [f.problem for f in grib_frames.scan(written(tmp_path, message))] == [
    ''
  ]
  (frame,) = grib_frames.scan(written(tmp_path, message[:-1]))
  assert frame.problem == 'it is cut after 11963 of 11964 bytes'


def section(content, number):
  """First byte and length of a section of a GRIB 2 message."""
  position = 16
  while content[position + 4] != number:
    position += struct.unpack('>I', content[position : position + 4])[0]
  return position


def test_an_interval_that_ends_at_two_times_is_named(tmp_path):
  content = bytearray(RAIN.read_bytes())
  # Octets 35 to 41 of the product definition 4.8: end of the interval.
  end = section(content, 4) + 34
  assert struct.unpack('>HBB', content[end : end + 4])[0] == 2020
  content[end + 4] = 6  # Hours.
  path = written(tmp_path, bytes(content))
  fields = gridded.Weather((str(path),))
  assert len(fields.records) == 1
  (damaged,) = fields.report()['damaged']
  assert damaged['message'] == 1
  assert 'by its steps, but up to 2020-03-26T06:00' in damaged['reason']


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path):
  messages = first_hours(3)
  path = written(tmp_path, *messages)
  fields = gridded.Weather((str(path),))
  record = fields.records[1]
  written(tmp_path, messages[1], messages[2], messages[0])
  with pytest.raises(
    ValueError,
    match=f'{path}, message 2: asked for the hours up to 2019-03-01T01:00, but '
    'now it holds those up to 2019-03-01T02:00',
  ):
    fields.field(record)


def test_a_message_that_does_not_decode_is_named(tmp_path):
  path = written(tmp_path, *first_hours(2))
  fields = gridded.Weather((str(path),))
  record = fields.records[1]
  written(tmp_path, first_hours(1)[0], first_hours(2)[1][:-500])
  with pytest.raises(ValueError, match=f'{path}, message 2 cannot be decoded'):
    fields.field(record)
  written(tmp_path, first_hours(1)[0])
  with pytest.raises(ValueError, match=f'{path}, message 2 cannot be decoded'):
    fields.field(record)


def test_times_of_a_message_are_those_of_its_record():
  file = grib.GribFile(str(RAIN), {'tp': ('tp',), 't2m': ()})
  assert [(r.end - r.start) // 3600 for r in file.records] == [6, 18]
  assert all(np.isfinite(file.read(r)).any() for r in file.records)
  assert isinstance(file.path, str) and pathlib.Path(file.path).exists()


def test_a_unit_of_steps_that_is_no_time_is_named(tmp_path, monkeypatch):
  path = written(tmp_path, *first_hours(1))
  monkeypatch.setattr(grib, '_UNIT_SECONDS', {0: 60})
  with pytest.raises(
    ValueError, match='damaged.grib, message 1: its steps have the unit 1 of'
  ):
    hours(path)
