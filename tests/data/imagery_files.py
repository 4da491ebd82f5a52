"""Images of Sentinel-2 in the forms that other programs write, at random.

Every form is written by plain libraries from the same truth: reflectance x
10,000 of a place, and which of its pixels have no value.
"""

import dataclasses
import json

import numpy as np
import rasterio
import xarray as xr
from rasterio import enums

from fusion_jax import modalities

BANDS = modalities.S2L2A_BANDS
SIDE = 24  # Pixels; divides into pixels of 20 and 60 m.
DAY, TIME = '2023-06-10', '2023-06-10T10:46:21'
SECONDS = 1_686_393_981
CRS = rasterio.CRS.from_epsg(32631)
LEFT, TOP = 500_000, 5_600_040
SIZES = {
  band: 60
  if band in ('B01', 'B09')
  else 10
  if band in ('B02', 'B03', 'B04', 'B08')
  else 20
  for band in BANDS
}
WORDS = dict(
  zip(
    BANDS,
    'coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 '
    'swir22'.split(),
  )
)
SPELLINGS = (
  '{}'.format,
  lambda band: band.replace('B0', 'B'),
  lambda band: f'{band.replace("B0", "B")}, central wavelength 665 nm',
  '{}_10m'.format,
  'S2L2A_{}'.format,
  WORDS.get,
  str.lower,
)
# Scale and offset that a file declares, and how its values follow from counts.
ENCODINGS = (
  (None, None, lambda counts: counts),
  (1e-4, 0.0, lambda counts: counts),
  (1e-4, -0.1, lambda counts: counts + 1000),
  (2e-4, 0.0, lambda counts: counts // 2),
  (1.0, -1000.0, lambda counts: counts + 1000),
  (1e-4, -1000.0, lambda counts: counts + 1000),
)
FORMS = ('raster', 'safe', 'patch', 'item', 'variables', 'axis', 'zarr')


@dataclasses.dataclass(frozen=True)
class Case:
  """One image in one form.

  Attributes:
    seed: of its pixels.
    form: one of `FORMS`.
    spell: function from the name of a band to its spelling.
    order: bands in the order of the file.
    dtype: of the stored values.
    encoding: one of `ENCODINGS`.
    hide: how pixels without a value are stored: '', 'zero', 'nodata', 'mask',
      'alpha' or 'nan'.
    ending: of the name of a raster.
    south_up: whether rows run northwards.
  """

  seed: int
  form: str
  spell: object
  order: tuple
  dtype: str
  encoding: tuple
  hide: str
  ending: str
  south_up: bool

  def __str__(self):
    return (
      f'{self.seed}: {self.form} {self.spell("B04")} {self.dtype} '
      f'{self.encoding[:2]} {self.hide} {self.ending} {self.south_up}'
    )

  @property
  def counts(self):
    """Reflectance x 10,000, int [Y, X, C] in the order of `BANDS`; all known.

    Bands of 20 and 60 m are constant over their pixels.
    """
    rng = np.random.default_rng(self.seed)
    shape = rng.integers(50, 900, (SIDE, SIDE)) * 2
    image = []
    for i, band in enumerate(BANDS):
      step = SIZES[band] // 10
      coarse = shape[::step, ::step] + 200 * i
      image.append(coarse.repeat(step, 0).repeat(step, 1))
    return np.stack(image, -1)

  @property
  def hidden(self):
    """Pixels without a value, bool [Y, X]: the first rows of 60 m."""
    hidden = np.zeros((SIDE, SIDE), bool)
    hidden[:6] = bool(self.hide)
    return hidden

  @property
  def nodata(self):
    """The number that stands for "missing"."""
    if self.hide == 'nan':
      return np.nan
    return (
      0 if self.hide == 'zero' else -9999 if self.dtype != 'uint16' else 65535
    )


def draw(seed, form=''):
  """Returns a case that a seed stands for."""
  rng = np.random.default_rng(seed)
  form = form or str(rng.choice(FORMS))
  dtype = str(rng.choice(['uint16', 'int16', 'float32']))
  hides = ['', 'nodata', 'mask'] + (['nan'] if dtype == 'float32' else ['zero'])
  if form in ('safe', 'patch'):
    dtype, hides = 'uint16', ['', 'zero']
  elif form not in ('raster', 'item'):
    hides.remove('mask')
  elif form == 'raster':
    hides.append('alpha')
  encodings = ENCODINGS[:1] if form == 'patch' else ENCODINGS
  if form == 'safe':
    encodings = ENCODINGS[2:3]
  return Case(
    seed,
    form,
    SPELLINGS[rng.integers(len(SPELLINGS))],
    tuple(map(str, rng.permutation(BANDS))),
    dtype,
    encodings[rng.integers(len(encodings))],
    str(rng.choice(hides)),
    str(rng.choice(['.tif', '.tiff', '.TIF'])),
    bool(rng.integers(2)) and form not in ('safe', 'patch', 'item'),
  )


def stored(case):
  """The numbers of a file, [Y, X, C] in the order of `BANDS`."""
  values = case.encoding[2](case.counts).astype(case.dtype)
  if case.hide in ('mask', 'alpha'):
    values[case.hidden] = values[case.hidden] // 2 + 1
  elif case.hide:
    values[case.hidden] = case.nodata
  return values


def write(case, folder):
  """Writes a case into a folder, and returns its path."""
  folder.mkdir(parents=True, exist_ok=True)
  return _WRITERS[case.form](case, folder)


def data_array(case):
  """The case as rioxarray or xarray gives it, values as stored."""
  values = stored(case)[..., [BANDS.index(band) for band in case.order]]
  scale, offset, _ = case.encoding
  attrs = {'scale_factor': scale, 'add_offset': offset}
  if case.hide in ('nodata', 'nan', 'zero'):
    attrs['_FillValue'] = np.dtype(case.dtype).type(case.nodata)
  attrs = {key: x for key, x in attrs.items() if x is not None}
  names = [case.spell(band) for band in case.order]
  ys, xs = _centres()
  array = xr.DataArray(
    np.moveaxis(values, -1, 0),
    {'band': names, 'y': ys, 'x': xs},
    ('band', 'y', 'x'),
    's2',
    attrs,
  )
  return array[:, ::-1] if case.south_up else array


def _centres():
  steps = 10 * np.arange(SIDE)
  return TOP - 5.0 - steps, LEFT + 5.0 + steps


def _raster(path, image, case=None, size=10, names=(), **options):
  """Writes [Y, X, C] as a raster with the tags of a case."""
  path.parent.mkdir(parents=True, exist_ok=True)
  transform = rasterio.Affine(size, 0, LEFT, 0, -size, TOP)
  if case is not None and case.south_up:
    bottom = TOP - size * len(image)
    transform = rasterio.Affine(size, 0, LEFT, 0, size, bottom)
    image = image[::-1]
  profile = {'driver': 'GTiff', 'crs': CRS, 'transform': transform} | options
  with rasterio.open(
    path,
    'w',
    width=image.shape[1],
    height=image.shape[0],
    count=image.shape[2],
    dtype=image.dtype,
    **profile,
  ) as file:
    file.write(np.moveaxis(image, -1, 0))
    if names:
      file.descriptions = tuple(names)
    if case is None:
      return path
    file.update_tags(datetime=TIME)
    scale, offset, _ = case.encoding
    if scale is not None:
      file.scales = (scale,) * file.count
      file.offsets = (offset,) * file.count
    if case.hide == 'mask':
      mask = ~case.hidden[:: size // 10, :: size // 10]
      file.write_mask((mask[::-1] if case.south_up else mask) * np.uint8(255))
  return path


def _declared_nodata(case):
  return {'nodata': case.nodata} if case.hide in ('nodata', 'nan') else {}


def _write_raster(case, folder):
  order = [BANDS.index(band) for band in case.order]
  names = [case.spell(band) for band in case.order]
  image = stored(case)[..., order]
  path = folder / f'scene{case.ending}'
  if case.hide != 'alpha':
    return _raster(path, image, case, names=names, **_declared_nodata(case))
  alpha = 255 * ~case.hidden[..., None]
  image = np.concatenate([image, alpha.astype(image.dtype)], -1)
  _raster(path, image, case, names=[*names, 'alpha'])
  with rasterio.open(path, 'r+') as file:
    grey = enums.ColorInterp.undefined
    file.colorinterp = [grey] * len(names) + [enums.ColorInterp.alpha]
  return path


def _write_safe(case, folder):
  """A product with copies at 20 and 60 m, masks and a picture."""
  name = 'S2A_MSIL2A_20230610T104621_N0509_R051_T31UES_20230610T164500.SAFE'
  granule = folder / name / 'GRANULE' / 'L2A_T31UES_A041138_20230610T104624'
  lossless = {'driver': 'JP2OpenJPEG', 'QUALITY': '100', 'REVERSIBLE': 'YES'}
  image = stored(case)
  for i, band in enumerate(BANDS):
    for size in (10, 20, 60):
      if size < SIZES[band]:
        continue
      part = image[:: size // 10, :: size // 10, i : i + 1]
      part = part if size == SIZES[band] else part // 2 + 500
      file = f'IMG_DATA/R{size}m/T31UES_20230610T104621_{band}_{size}m.jp2'
      _raster(granule / file, part, size=size, **lossless)
    mask = np.full((4, 4, 1), 3, 'uint8')
    _raster(
      granule / f'QI_DATA/MSK_DETFOO_{band}.jp2', mask, size=60, **lossless
    )
  picture = np.full((SIDE, SIDE, 3), 90, 'uint8')
  _raster(
    granule / 'IMG_DATA/R10m/T31UES_20230610T104621_TCI_10m.jp2',
    picture,
    **lossless,
  )
  offsets = ''.join(
    f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13)
  )
  (folder / name / 'MTD_MSIL2A.xml').write_text(
    '<a><BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>'
    f'{offsets}</a>'
  )
  return folder / name


def _write_patch(case, folder):
  """A patch of BigEarthNet: a file a band, and its labels as JSON."""
  name = 'S2A_MSIL2A_20230610T104621_87_48'
  for i, band in enumerate(BANDS):
    step = SIZES[band] // 10
    _raster(
      folder / name / f'{name}_{band}.tif',
      stored(case)[::step, ::step, i : i + 1],
      size=SIZES[band],
    )
  labels = {'labels': ['Pastures'], 'acquisition_date': DAY}
  (folder / name / f'{name}_labels_metadata.json').write_text(
    json.dumps(labels)
  )
  return folder / name


def _write_item(case, folder):
  """A STAC item, a file a band, with its encoding in the item."""
  plain = dataclasses.replace(case, encoding=ENCODINGS[0])
  scale, offset, _ = case.encoding
  assets = {}
  for i, band in enumerate(BANDS):
    step = SIZES[band] // 10
    path = _raster(
      folder / f'{i}{case.ending}',
      stored(case)[::step, ::step, i : i + 1],
      plain,
      size=SIZES[band],
      **_declared_nodata(case),
    )
    encoded = {} if scale is None else {'scale': scale, 'offset': offset}
    assets[f'asset {i}'] = {
      'href': f'./{path.name}',
      'eo:bands': [{'name': case.spell(band)}],
      'raster:bands': [encoded],
    }
  content = {
    'type': 'Feature',
    'id': 'S2',
    'stac_version': '1.0.0',
    'assets': assets,
    'properties': {'datetime': f'{TIME}Z'},
  }
  path = folder / 'item.json'
  path.write_text(json.dumps(content))
  return path


def _dataset(case, as_variables):
  array = data_array(case).expand_dims(time=[np.datetime64(TIME, 'ns')])
  if as_variables:
    made = xr.Dataset(
      {str(name): array.sel(band=name, drop=True) for name in array.band.values}
    )
    for each in made.data_vars.values():
      each.attrs = dict(array.attrs)
  else:
    made = array.to_dataset(name='s2')
  return made.assign_coords(spatial_ref=((), 0, {'crs_wkt': CRS.to_wkt()}))


def _write_variables(case, folder):
  _dataset(case, True).to_netcdf(folder / 'scene.nc', engine='h5netcdf')
  return folder / 'scene.nc'


def _write_axis(case, folder):
  _dataset(case, False).to_netcdf(folder / 'scene.nc', engine='h5netcdf')
  return folder / 'scene.nc'


def _write_zarr(case, folder):
  made = _dataset(case, True)
  made.to_zarr(folder / 'scene.zarr', zarr_format=2, consolidated=True)
  return folder / 'scene.zarr'


_WRITERS = {
  'raster': _write_raster,
  'safe': _write_safe,
  'patch': _write_patch,
  'item': _write_item,
  'variables': _write_variables,
  'axis': _write_axis,
  'zarr': _write_zarr,
}
