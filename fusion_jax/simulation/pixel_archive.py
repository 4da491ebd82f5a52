"""Writes simulated LUCAS points in the files of the real archives.

Sen4Map's HDF5, the survey's CSV, CLIP vectors of the photos, Sen4Map's table
of labels (with its columns lat and lon swapped, as published) and the two maps,
so that the real readers run on them. Needs h5py.
"""

import csv
import os
from collections.abc import Iterator, Sequence

import h5py
import numpy as np

from fusion_jax.data import composites, labels, lucas_grid
from fusion_jax.data.sources import (
  ground_photos,
  photo_vectors,
  sen4map,
  sen4map_groups,
)
from fusion_jax.simulation import acquisitions, europe, habitats, pixels

Path = str | os.PathLike[str]

_SURVEY_COLUMNS = ('POINT_ID', 'NUTS0', 'TH_LAT', 'TH_LONG', 'LC1', 'LU1')
_LABEL_COLUMNS = (
  'land_cover',
  'land_use',
  'crops',
  'country',
  'bioregion',
  'eunis',
)


def write_hdf5(
  earth: pixels.SimulatedPixels, path: Path, split: str, patch: int = 64
) -> None:
  """Writes a split as Sen4Map's acquisitions.

  Args:
    earth: the simulated places.
    path: file to write.
    split: name of the split.
    patch: pixels per side, 9 or more; published are 64 (4 MB per place).
  """
  with h5py.File(path, 'w') as file:
    for i in range(earth.splits[split]):
      site, habitat = earth.ground(split, i)
      year = earth.acquisitions(split, i)
      if patch > acquisitions.CORE:
        year = acquisitions.around(
          year, site, habitat, patch, earth.rng(split, i, 'around')
        )
      group = file.create_group(f'{sen4map.PREFIX}{site.point_id}')
      for band, counts in zip(composites.BANDS, year.counts.swapaxes(0, 1)):
        group[band] = counts
      group[sen4map_groups.SCENE_CLASS] = year.scene_class
      group.attrs[sen4map_groups.PRODUCTS] = [
        _product(day) for day in year.days
      ]
      _describe(group, site, habitat)


def write_composites(
  earth: pixels.SimulatedPixels, path: Path, split: str
) -> None:
  """Writes a split as monthly composites with the codes of the maps."""
  with h5py.File(path, 'w') as file:
    for i in range(earth.splits[split]):
      site, habitat = earth.ground(split, i)
      example = earth.example(split, i)
      group = file.create_group(example['key'])
      group[sen4map_groups.IMAGE] = example['pixels'].astype(np.float32)
      _describe(group, site, habitat)
      for name, task in zip(sen4map.REGIONS, ('bioregion', 'eunis')):
        group.attrs[name] = habitat.labels[task]


def write_survey(earth: pixels.SimulatedPixels, path: Path) -> None:
  """Writes all splits as one CSV of LUCAS micro-data."""
  with open(path, 'w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(_SURVEY_COLUMNS)
    for site, habitat in _all(earth):
      writer.writerow(
        [
          site.point_id,
          site.country,
          f'{site.place.lat:.9f}',
          f'{site.place.lon:.9f}',
          habitat.cover,
          habitat.use,
        ]
      )


def write_labels(earth: pixels.SimulatedPixels, path: Path, split: str) -> None:
  """Writes a split as Sen4Map's published labels, lat and lon swapped."""
  with open(path, 'w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(
      [
        'im_id',
        'lat',
        'lon',
        'lc_label',
        'lu_label',
        'crop_label',
        'nuts_label',
        'bioregion_class',
        'eunis_class',
      ]
    )
    for i in range(earth.splits[split]):
      site, habitat = earth.ground(split, i)
      names = [_name(task, habitat.labels[task]) for task in _LABEL_COLUMNS]
      writer.writerow(
        [
          f'{sen4map.PREFIX}{site.point_id}',
          site.place.lon,
          site.place.lat,
          *names,
        ]
      )


def write_photo_vectors(
  earth: pixels.SimulatedPixels, path: Path, splits: Sequence[str] | None = None
) -> None:
  """Writes CLIP vectors of the photos of some splits, by default of all."""
  names, vectors = [], []
  for split in splits or earth.splits:
    for i in range(earth.splits[split]):
      site, _ = earth.ground(split, i)
      for direction, vector in zip(
        photo_vectors.DIRECTIONS, earth.views(split, i)
      ):
        if np.isfinite(vector).all():
          place = site.country, site.point_id
          names.append(ground_photos.key(*place, direction))
          vectors.append(vector)
  photo_vectors.write(path, names, np.stack(vectors))


def write_habitat_map(
  earth: pixels.SimulatedPixels, path: Path, split: str
) -> None:
  """Writes the habitats of a split as a GeoTIFF of 1 km in EPSG:3035.

  Its values are 100 more than the class indices; 0 is no data. The table that
  says so is written beside it, `{path}.csv`.
  """
  import rasterio

  ground = [earth.ground(split, i) for i in range(earth.splits[split])]
  points = np.array([site.point_id for site, _ in ground])
  east, north = points // 10_000, points % 10_000
  grid = np.zeros((np.ptp(north) + 1, np.ptp(east) + 1), np.uint8)
  grid[north.max() - north, east - east.min()] = [
    habitat.labels['eunis'] + 100 for _, habitat in ground
  ]
  corner = (float(east.min() - 0.5) * 1000, float(north.max() + 0.5) * 1000)
  with rasterio.open(
    path,
    'w',
    driver='GTiff',
    height=grid.shape[0],
    width=grid.shape[1],
    count=1,
    dtype='uint8',
    crs='EPSG:3035',
    nodata=0,
    compress='deflate',
    transform=rasterio.Affine(1000, 0, corner[0], 0, -1000, corner[1]),
  ) as raster:
    raster.write(grid, 1)
  with open(f'{path}.csv', 'w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(['value', 'name'])
    writer.writerows(
      [i + 100, name] for i, name in enumerate(labels.classes('eunis'))
    )


def _describe(
  group: h5py.Group, site: europe.Site, habitat: habitats.Habitat
) -> None:
  lat, lon = lucas_grid.coordinates(site.point_id)
  group.attrs['lc1'], group.attrs['lu1'] = habitat.cover, habitat.use
  group.attrs['lc1_label'] = labels.classes('land_cover')[
    habitat.labels['land_cover']
  ]
  group.attrs['nuts0'] = site.country
  group.attrs['Coordinates'] = [lon, lat]


def _product(day: int) -> str:
  date = np.datetime64('2018-01-01') + np.timedelta64(int(day), 'D')
  text = str(date).replace('-', '')
  return f'S2A_MSIL2A_{text}T103021_N0206_R108_T32ULC'


def _name(task: str, index: int) -> str:
  return 'NA' if index == labels.NONE else labels.classes(task)[index]


def _all(
  earth: pixels.SimulatedPixels,
) -> Iterator[tuple[europe.Site, habitats.Habitat]]:
  for split, total in earth.splits.items():
    for i in range(total):
      yield earth.ground(split, i)
