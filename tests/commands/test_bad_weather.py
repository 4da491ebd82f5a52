"""What is wrong with weather and tables of samples is told in one line."""

import json
import re
import shutil

import numpy as np
import pytest
import xarray as xr

from fusion_jax.commands import app
from tests.commands.test_bad_input import IMAGE
from tests.data.weather_fields import fields, hours
from tests.small_archives import ERA5

DAY = hours('2020-01-01T00', 72)
NOONS = DAY[12] + np.arange(3) * np.timedelta64(1, 'D')
PLACE = '-25.3,-48.1'  # Of the image.
HEAD = 'sample_id,lat,lon,s2_datetime_utc\n'
ROW = f'a,{PLACE},2020-01-02T10:00:00Z\n'
SINCE_MIDNIGHT = np.array([((h - 1) % 24 + 1) / 1000 for h in range(72)])

# {name of a file: its variable, values, unit and more}.
WEATHER = {
  'sums.nc': ('tp', SINCE_MIDNIGHT, 'm', {'time': DAY}),
  'fill.nc': ('tp', np.where(np.arange(72) % 3, 1, -999), 'mm', {'time': DAY}),
  'metres.nc': ('tp', SINCE_MIDNIGHT % 0.007, 'mm', {'time': DAY}),
  'unit.nc': ('tp', np.ones(72), 'furlong', {'time': DAY}),
  'celsius.nc': ('t2m', np.full(72, 7.0), 'K', {'time': DAY}),
  'noon.nc': ('t2m', np.full(3, 280.0), 'K', {'time': NOONS}),
  'number.nc': ('t2m', np.full(72, 280.0), 'K', {'time': np.arange(72)}),
  'half.nc': (
    't2m',
    np.full(72, 280.0),
    'K',
    {'time': DAY + np.timedelta64(30, 'm')},
  ),
  'lat.nc': (
    't2m',
    np.full(72, 280.0),
    'K',
    {'time': DAY, 'latitude': [91.0, 92.0, 93.0]},
  ),
  'other.nc': ('d2m', np.full(72, 280.0), 'K', {'time': DAY}),
  'members.nc': (
    't2m',
    np.full((72, 2, 3, 3), 280.0),
    'K',
    {
      'dims': ('time', 'number', 'latitude', 'longitude'),
      'number': [3, 4],
      'time': DAY,
    },
  ),
}
TABLES = {
  'swapped': f'{HEAD}a,148.1,-35.3,2020-01-02T10:00:00Z\n',
  'no_lat': f'{HEAD}a,,-48.1,2020-01-02T10:00:00Z\n',
  'nan': f'{HEAD}a,nan,-48.1,2020-01-02T10:00:00Z\n',
  'local_date': f'{HEAD}a,{PLACE},08/04/2020 10:00\n',
  'year': f'{HEAD}a,{PLACE},0020-01-02\n',
  'twice': HEAD + ROW + ROW,
  'short': f'{HEAD}a,{PLACE}\n',
  'long': f'{HEAD}{ROW.strip()},1\n',
  'no_id': f'{HEAD},{PLACE},2020-01-02\n',
  'folder': f'{HEAD}../a,{PLACE},2020-01-02\n',
  'semicolons': (HEAD + ROW).replace(',', ';'),
  'ids': HEAD + ROW.replace('a,', 'A1,'),
  'far': HEAD + ROW.replace(PLACE, '25.3,-48.1') + ROW.replace('a,', 'b,'),
}


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('bad')
  for name, (variable, values, unit, more) in WEATHER.items():
    fields(folder / name, variable, values, unit, **more)
  cut = (folder / 'noon.nc').read_bytes()[:3000]
  (folder / 'cut.nc').write_bytes(cut)
  (folder / 'cut.grib').write_bytes(ERA5.read_bytes()[:2000])
  (folder / 'page.grib').write_text('<html>GRIB was moved</html>')
  (folder / 'empty.grib').touch()
  data = xr.open_dataset(folder / 'noon.nc', engine='h5netcdf').load()
  data['time'] = 'time', [0, 1, 2], {'units': 'fortnights since 1970-01-01'}
  data.to_netcdf(folder / 'time.nc', engine='h5netcdf')
  for name, table in {**TABLES, 'good': HEAD + ROW, 'latin': None}.items():
    (folder / name / 'DEM').mkdir(parents=True)
    for key in 'ab':
      shutil.copy(IMAGE, folder / name / 'DEM' / f'{key}.tif')
    (folder / name / 'samples.csv').write_bytes(
      table.encode() if table else f'{HEAD}\xfc,1,2,2020'.encode('latin-1')
    )
  days = {'start': '2020-01-01', 'end': '2020-01-04'}
  for name, place in (
    ('blocks', {}),
    ('lat', {'lat': [147, 149]}),
    ('lon', {'lon': [350, 355]}),
  ):
    text = json.dumps({'train': {**days, **place}})
    (folder / f'{name}.json').write_text(text)
  return folder


SAMPLES = 'prepare samples --out {out} --num-workers 1 --source {folder}/'
GOOD = f'{SAMPLES}good --outside missing --weather {{folder}}/'
SERIES = (
  'prepare series --out {out} --num-workers 1 --series t2m_hourly '
  '--weather {folder}/noon.nc --blocks {folder}/'
)


@pytest.mark.parametrize(
  'line, message',
  [
    (f'{GOOD}sums.nc', r'tp in .*/sums.nc rises for 24 h .*--reset-hours 24'),
    (f'{GOOD}fill.nc', r'fill.nc holds -999 mm at .*.33.3% .*_FillValue'),
    (f'{GOOD}metres.nc', r'tp in .*metres.nc .*--precipitation-unit m'),
    (f'{GOOD}unit.nc', r"unit.nc has the unit 'furlong'.*--precipitation-un"),
    (f'{GOOD}celsius.nc', r'celsius.nc, 2020-01-01.* 7.00.*--temperature-u'),
    (f'{GOOD}noon.nc', r't2m in .*/noon.nc has one value in 24 h.*--daily-va'),
    (f'{GOOD}number.nc', r'number.nc: time holds 0, which is no time; write'),
    (f'{GOOD}half.nc', r'half.nc is given at 2020-01-01T00:30 .*interpolate'),
    (f'{GOOD}lat.nc', r'lat.nc: latitude, .* 91 is outside -90 .. 90 degrees'),
    (f'{GOOD}other.nc', r'other.nc holds neither .*d2m. Name the variable wi'),
    (f'{GOOD}members.nc', r'members.nc .* of the members 3, 4 with --member 3'),
    (f'{GOOD}members.nc --member 9', r'members.nc has .* members 3, 4, not 9'),
    (f'{GOOD}cut.nc', r'cut.nc is damaged or no NetCDF file .*fetch it again'),
    (
      f'{GOOD}cut.grib',
      r'cut.grib, message 1: it is cut after 2000 of .*Fetch',
    ),
    (f'{GOOD}page.grib', r'page.grib, message 1: .*Fetch the files again'),
    (f'{GOOD}empty.grib', r'empty.grib is neither GRIB, NetCDF nor Zarr'),
    (f'{GOOD}time.nc', r'The times of .*time.nc cannot be decoded .*units'),
    (f'{GOOD}noon.nc --daily-values noon', r'--daily-values'),
    (f'{GOOD}noon.nc --temperature-unit R', r"temperature_unit='R' is not kn"),
    (f'{SERIES}blocks.json', r't2m in .*/noon.nc has one value in 24 h.*--dai'),
    (f'{SERIES}lat.json', r'lat=.147.0, 149.0. of a block is outside -90 .. '),
    (f'{SERIES}lon.json', r'lon=.350.0, .* outside -180 .. 180 .* as negative'),
    (f'{SAMPLES}swapped', r'samples.csv, line 2, .* 148.1 .* exchange them'),
    (f'{SAMPLES}no_lat', r"samples.csv, line 2: lat='' is no number; write"),
    (f'{SAMPLES}nan', r'samples.csv, line 2, lat=nan.* outside -90 .. 90'),
    (f'{SAMPLES}local_date', r"line 2: .*utc='08/04/2020 10:00' is .*; write"),
    (f'{SAMPLES}year', r"line 2: .*utc='0020-01-02' is of the year 20; write"),
    (f'{SAMPLES}twice', r"line 3: sample_id='a' stands in line 2, too; keep"),
    (f'{SAMPLES}short', r'line 2 has another number of values than the head'),
    (f'{SAMPLES}long', r'line 2 has another number of values than the head'),
    (f'{SAMPLES}no_id', r"line 2: sample_id='' cannot be the name of a file;"),
    (f'{SAMPLES}folder', r"line 2: sample_id='../a' cannot be the name of a"),
    (f'{SAMPLES}semicolons', r"samples.csv lacks .* by commas, not by ';'"),
    (f'{SAMPLES}ids', r"No sample of .* as .'A1'., .* as .'a', 'b'.. Name"),
    (f'{SAMPLES}latin', r'samples.csv is not in UTF-8 .*; convert it'),
    (f'{SAMPLES}far', r'a.tif lies at -25.32 N, .*km from 25.3 N.*; correct'),
  ],
)
def test_bad_weather_and_tables_are_one_line(
  line, message, folder, tmp_path, capsys
):
  with pytest.raises(SystemExit) as caught:
    app.main(line.format(out=tmp_path / 'out', folder=folder).split())
  assert caught.value.code in (1, 2)
  lines = capsys.readouterr().err.splitlines()
  assert not any('Traceback' in text for text in lines)
  (told,) = (text for text in lines if text.startswith('fusion-jax'))
  assert re.search(message, told), told
  assert not (tmp_path / 'out' / 'statistics.json').exists()


def test_tables_as_spreadsheets_save_them_are_read(folder, tmp_path, caplog):
  source = tmp_path / 'source'
  shutil.copytree(folder / 'good', source)
  table = '﻿' + HEAD + ROW + ROW.replace('a,', ' b ,').replace('T10:00:00Z', '')
  (source / 'samples.csv').write_text(table)
  (source / 'DEM' / 'b.tif').rename(source / 'DEM' / 'b.TIFF')
  shutil.copy(IMAGE, source / 'DEM' / 'c.tif')
  line = SAMPLES.format(out=tmp_path / 'out', folder=tmp_path) + 'source'
  app.main(line.split())
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert [x['examples'] for x in report['read'].values()] == [1, 1]
  assert '1 of 2 dates have no time of day' in caplog.text
  assert 'Left out 1 images' in caplog.text and ': c' in caplog.text
