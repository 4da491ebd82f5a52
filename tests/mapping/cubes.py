"""Small cubes, written in every format by plain libraries, and a model."""

import functools
import json

import jax
import ml_collections
import numpy as np
import rasterio
import zarr
from h5netcdf import legacyapi

from fusion_jax.assembly import pixel_layout
from fusion_jax.data import bands
from fusion_jax.inference import pixel_model
from fusion_jax.mapping import classify
from fusion_jax.models import pixel_encoder

SHAPE = (9, 7)
CRS = 'EPSG:32631'
TRANSFORM = rasterio.Affine(10, 0, 664_000, 0, -10, 5_612_120)
# From November, as the real cube, so that calendar and order differ.
DATES = [
  np.datetime64('2020-11-15') + np.timedelta64(30 * i, 'D') for i in range(12)
]
MISSING = 0


def values(shape=SHAPE, steps=12, seed=0):
  """{band: uint16 [S, Y, X]} reflectance x 10,000, some missing (0)."""
  rng = np.random.default_rng(seed)
  made = {
    band: rng.integers(500, 4_000, (steps, *shape)).astype(np.uint16)
    for band in bands.BANDS
  }
  missing = rng.random((steps, *shape)) < 0.1
  for array in made.values():
    array[missing] = MISSING
    array[:, 0, 0] = MISSING  # A pixel without any data.
  return made


def months(made, dates=None):
  """[12, C, Y, X] float32 by month, NaN = missing: what a cube should read."""
  dates = np.array(DATES if dates is None else dates, 'datetime64[M]')
  place = dates.astype(int) % 12
  result = np.full(
    (12, len(bands.BANDS), *made['B2'].shape[1:]), np.nan, np.float32
  )
  for i, band in enumerate(bands.BANDS):
    for step, month in enumerate(place):
      array = made[band][step].astype(np.float32)
      result[month, i] = np.where(array == MISSING, np.nan, array)
  return result


def write_netcdf(path, made, *, dates=DATES, prefix='S2-L2A-', **attrs):
  """One variable a band, named in the order given."""
  with legacyapi.Dataset(path, 'w') as file:
    steps, height, width = next(iter(made.values())).shape
    for name, size in ('t', steps), ('y', height), ('x', width):
      file.createDimension(name, size)
    file.createVariable('crs', 'i4').attrs.update(
      crs_wkt=rasterio.crs.CRS.from_string(CRS).to_wkt()
    )
    if dates is not None:
      time = file.createVariable('t', 'i4', ('t',))
      time.units = 'days since 1990-01-01'
      time[:] = [
        (day - np.datetime64('1990-01-01')).astype(int) for day in dates
      ]
    file.createVariable('y', 'f8', ('y',))[:] = TRANSFORM.f - 10 * (
      np.arange(height) + 0.5
    )
    file.createVariable('x', 'f8', ('x',))[:] = TRANSFORM.c + 10 * (
      np.arange(width) + 0.5
    )
    for band, array in made.items():
      variable = file.createVariable(
        f'{prefix}{band.replace("B", "B0") if len(band) == 2 else band}',
        array.dtype,
        ('t', 'y', 'x'),
      )
      variable.attrs.update(grid_mapping='crs', **attrs)
      variable[:] = array
  return path


def write_zarr(path, made, *, scale=None, offset=None):
  """One variable with an axis of bands, south up, in small chunks."""
  root = zarr.create_group(path, zarr_format=2)
  arrays = np.stack(list(made.values()), axis=1)[:, :, ::-1]
  steps, count, height, width = arrays.shape
  stored = root.create_array('reflectance', data=arrays, chunks=(1, 1, 4, 4))
  stored.attrs.update(
    {
      '_ARRAY_DIMENSIONS': ['time', 'band', 'y', 'x'],
      'crs': CRS,
      **(
        {} if scale is None else {'scale_factor': scale, 'add_offset': offset}
      ),
    }
  )
  coordinates = {
    'time': np.array(
      [(day - np.datetime64('1970-01-01')).astype(int) for day in DATES]
    ),
    'band': np.array(list(made)),
    'y': TRANSFORM.f - 10 * (np.arange(height)[::-1] + 0.5),
    'x': TRANSFORM.c + 10 * (np.arange(width) + 0.5),
  }
  for name, array in coordinates.items():
    kept = root.create_array(
      name, data=array.astype('<U4') if name == 'band' else array
    )
    kept.attrs['_ARRAY_DIMENSIONS'] = [name]
  root['time'].attrs['units'] = 'days since 1970-01-01'
  zarr.consolidate_metadata(root.store)
  return path


def write_geotiffs(folder, made):
  """A file a date, bands in another order; the date in the name."""
  folder.mkdir()
  for step, day in enumerate(DATES):
    order = list(made)[::-1]
    with rasterio.open(
      folder / f'S2_{str(day).replace("-", "")}.tif',
      'w',
      driver='GTiff',
      height=SHAPE[0],
      width=SHAPE[1],
      count=len(order),
      dtype='uint16',
      crs=CRS,
      transform=TRANSFORM,
    ) as file:
      file.write(np.stack([made[band][step] for band in order]))
      file.descriptions = order
  return folder


def write_stac(folder, made, *, applied=False):
  """An item a date, a file a band; those of 20 m coarser, on their grid."""
  folder.mkdir()
  for step, day in enumerate(DATES):
    assets = {'thumbnail': {'href': 'none.jpg', 'roles': ['thumbnail']}}
    for band, array in made.items():
      coarse = band not in ('B2', 'B3', 'B4', 'B8')
      part = array[step, ::2, ::2] if coarse else array[step]
      path, size = folder / f'{step}_{band}.tif', 20 if coarse else 10
      with rasterio.open(
        path,
        'w',
        driver='GTiff',
        height=part.shape[0],
        width=part.shape[1],
        count=1,
        dtype='uint16',
        crs=CRS,
        nodata=MISSING,
        transform=rasterio.Affine(size, 0, TRANSFORM.c, 0, -size, TRANSFORM.f),
      ) as file:
        file.write(part, 1)
      assets[f'band_{band}'] = {
        'href': path.name,
        'eo:bands': [{'name': band}],
        'raster:bands': [{'nodata': 0, 'scale': 1e-4, 'offset': -0.1}],
      }
    (folder / f'item_{step}.json').write_text(
      json.dumps(
        {
          'type': 'Feature',
          'id': str(step),
          'assets': assets,
          'properties': {
            'datetime': f'{day}T10:30:00Z',
            'earthsearch:boa_offset_applied': applied,
          },
        }
      )
    )
  return folder


def config(side=1, **changes):
  """Of a small encoder."""
  return ml_collections.ConfigDict(
    {
      'task': 'pixel_encoder',
      'scaling': 'published',
      'missing_bands': (),
      'model': dict(
        width=16,
        depth=2,
        num_heads=2,
        hidden=8,
        output_width=6,
        num_bands=10,
        side=side,
        activation='relu',
        dropout=0.2,
        single='mean',
        kept='own',
        factored_first_layer='auto',
        unroll=1,
        dtype='float32',
      ),
      **changes,
    }
  )


def params(settings, classifier=False):
  """Of that encoder, drawn without compiling; months and pixels matter."""
  rng = np.random.default_rng(4)
  shapes = jax.eval_shape(
    lambda: pixel_encoder.init(
      pixel_layout.make(settings.model), jax.random.key(0)
    )
  )

  def draw(path, x):
    if path[-1].key in ('scale', 'bias'):
      return np.full(x.shape, path[-1].key == 'scale', np.float32)
    return rng.normal(0, x.shape[-2 % x.ndim] ** -0.5, x.shape).astype(
      np.float32
    )

  result = {'encoder': jax.tree_util.tree_map_with_path(draw, shapes)}
  result['encoder']['embed']['kernel'] *= 10
  if classifier:
    result['classifier'] = {
      'kernel': rng.normal(size=(6, 8)).astype(np.float32),
      'bias': np.zeros(8, np.float32),
    }
  return result


@functools.cache
def model(side=1, classifier=False):
  """A `PixelModel` that nothing trained."""
  changes = (
    {'task': 'classify_pixels', 'label': 'land_cover', 'setting': 'monthly'}
    if classifier
    else {}
  )
  settings = config(side, **changes)
  return pixel_model.PixelModel(settings, params(settings, classifier), {})


def classes():
  """Three classes with vectors."""
  vectors = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
  return classify.Classes(
    ('water', 'trees', 'wheat'),
    vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
    2.0,
  )


def expected(the_model, the_classes, images):
  """Class [Y, X] and its share, through the model's own interface."""
  side, shape = the_model.encoder.side, images.shape[2:]
  margin = (side // 2,) * 2
  padded = np.pad(images, [(0, 0), (0, 0), margin, margin], 'symmetric')
  patches = np.stack(
    [padded[:, :, y : y + side, x : x + side] for y, x in np.ndindex(*shape)]
  )
  vectors = the_model.encode(patches)
  scores = 100 * vectors @ the_classes.vectors.T / the_classes.temperature
  shares = np.exp(scores - scores.max(axis=1, keepdims=True))
  shares /= shares.sum(axis=1, keepdims=True)
  has_data = np.isfinite(images).any(axis=(0, 1))
  return (
    np.where(has_data, shares.argmax(axis=1).reshape(shape), 255),
    np.where(has_data, shares.max(axis=1).reshape(shape), np.nan),
  )
