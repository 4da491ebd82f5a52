"""A small data set of every builder, for tests that write each of them."""

import pathlib
from collections.abc import Callable

from fusion_jax import datasets

DATA = pathlib.Path(__file__).parent / 'testdata'
SCENES = DATA / 'terramesh'
GFS = DATA / 'weather' / 'gfs'
ERA5 = DATA / 'weather' / 'era5-2mt-2019-03-01-to-06-uk.grib'


def simulated(folder: pathlib.Path) -> datasets.Recipe:
  """Images and weather of the simulated Earth."""
  del folder
  return datasets.Simulated(
    image_size=16, splits={'train': 9, 'val': 2}, images=('S2L2A', 'S1GRD')
  )


def simulated_pixels(folder: pathlib.Path) -> datasets.Recipe:
  """Pixels of the simulated Earth."""
  del folder
  return datasets.SimulatedPixels(size=3, splits={'train': 9, 'val': 3})


def samples(folder: pathlib.Path) -> datasets.Recipe:
  """GeoTIFFs of five real scenes, with real rain."""
  del folder
  return datasets.Samples(
    source=str(SCENES), weather=(str(GFS),), images=('LULC', 'DEM')
  )


def series(folder: pathlib.Path) -> datasets.Recipe:
  """Windows of real temperatures."""
  del folder
  blocks = {
    'train': datasets.Block(
      '2019-03-01', '2019-03-05', (50, 50.5), (-10, -9.5), every_h=12
    ),
    'test': datasets.Block(
      '2019-03-04', '2019-03-07', (57.75, 58), (1.5, 2), every_h=12
    ),
  }
  return datasets.Series(
    weather=(str(ERA5),), series=('t2m_hourly',), blocks=blocks
  )


def stations(folder: pathlib.Path) -> datasets.Recipe:
  """Windows of one station's rain."""
  del folder
  declared = datasets.Stations(
    paths=(str(DATA / 'series' / 'nyc-2013-hourly.csv.gz'),),
    places={'EWR': (40.69, -74.17)},
    station='origin',
    time='time_hour',
    time_zone='UTC',
    precipitation=('precip', 'inch'),
  )
  return datasets.Series(
    stations=declared,
    blocks={'train': datasets.Block('2013-02-01', '2013-02-05', every_h=12)},
    series=('tp_hourly',),
  )


def terramesh(folder: pathlib.Path) -> datasets.Recipe:
  """Three tars in the form of TerraMesh, with weather of their days."""
  from tests.data import terramesh_archive

  root = folder / 'terramesh'
  if not root.exists():
    terramesh_archive.write(root)
  return datasets.TerraMesh(
    source=str(root), weather=(str(GFS),), images=('S2L2A', 'DEM', 'S1GRD')
  )


def sen4map(folder: pathlib.Path) -> datasets.Recipe:
  """HDF5 files of simulated LUCAS points."""
  from fusion_jax.simulation import pixel_archive, pixels

  root = folder / 'sen4map'
  if not root.exists():
    earth = pixels.SimulatedPixels(
      seed=3, size=1, splits={'train': 5, 'test': 3}
    )
    root.mkdir(parents=True)
    for split in earth.splits:
      pixel_archive.write_composites(earth, root / f'{split}.h5', split)
  return datasets.Sen4Map(source=str(root), examples_per_shard=2)


def worldcereal(folder: pathlib.Path) -> datasets.Recipe:
  """Labelled pixels of a Parquet file."""
  del folder
  path = DATA / 'worldcereal' / 'flanders_10px_long.parquet'
  return datasets.WorldCereal(source=str(path))


RECIPES: dict[str, Callable[[pathlib.Path], datasets.Recipe]] = {
  made.__name__: made
  for made in (
    simulated,
    simulated_pixels,
    samples,
    series,
    stations,
    terramesh,
    sen4map,
    worldcereal,
  )
}
