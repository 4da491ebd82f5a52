"""Generates weather series of a place from a Sentinel-2 scene.

The scene has pixels of 10 m. If it is larger than the images of the model, its
centre is used, or all whole tiles around the centre, whose samples are pooled.
"""

import csv
import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from absl import logging

import fusion_jax
from fusion_jax import extras, geo, modalities
from fusion_jax.data import windows
from fusion_jax.evals import forecast_plots, plots
from fusion_jax.inference import trained

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclasses.dataclass(frozen=True)
class SceneSeries:
  """A generated series of one scene.

  Attributes:
    modality: modality of the series.
    samples: float [S, T], S samples of T time steps, in the unit of the
      modality.
    time: datetime64[s] [T], valid time in UTC: the hour, or the day.
    scene: `geotiff.Scene` that the series belongs to.
    picture: float [Y, X, 3] in [0, 1], red, green and blue of the image that
      the model saw.
    trained_on: what the model was trained on, see `inference.trained`.
  """

  modality: modalities.Modality
  samples: np.ndarray
  time: np.ndarray
  scene: Any
  picture: np.ndarray
  trained_on: str = trained.UNKNOWN

  @property
  def table(self) -> dict[str, np.ndarray]:
    """Returns mean and quantiles over S, {'mean', 'q05', ...: float [T]}."""
    quantiles = np.quantile(self.samples, QUANTILES, axis=0, method='weibull')
    return {'mean': self.samples.mean(axis=0)} | {
      f'q{round(100 * share):02d}': values
      for share, values in zip(QUANTILES, quantiles)
    }


def generate_series(
  model: Any,
  scene: Any,
  target: str = 't2m_hourly',
  *,
  num_samples: int = 64,
  temperature: float = 1.0,
  top_k: int = 0,
  top_p: float = 0.0,
  seed: int = 0,
  tiles: bool = False,
  with_place: bool = False,
) -> SceneSeries:
  """Generates a weather series from a scene.

  Args:
    model: backbone model of `fusion_jax.load`.
    scene: `geotiff.Scene`, an image [Y, X, C] of a place at a time.
    target: name of a series, such as 't2m_hourly'.
    num_samples: least number of series over all tiles.
    temperature: temperature of the random draws; 0 is greedy.
    top_k: draw from the k most probable values; 0 draws from all.
    top_p: draw from the values that hold this mass; 0 draws from all.
    seed: seed of the random draws.
    tiles: whether to use all whole tiles of a larger scene, not its centre.
    with_place: whether the model also sees latitude and longitude.

  Returns:
    The series with `num_samples` samples or a little more.

  Raises:
    ValueError: if the scene is too small, or the target no series.
  """
  modality = _find_target(model, target)
  images = cut(scene.image, model.image_size, tiles)
  logging.info(
    'Of %d x %d pixels, the model sees %d tile(s) of %d x %d%s.',
    *scene.image.shape[:2],
    len(images),
    *images.shape[1:3],
    '' if tiles else ': the centre',
  )
  inputs = {scene.name: images} | _places(scene, len(images) * with_place)
  samples = model.generate(
    inputs,
    target,
    num_samples=-(-num_samples // len(images)),
    temperature=temperature,
    top_k=top_k,
    top_p=top_p,
    seed=seed,
  )
  return SceneSeries(
    modality,
    samples.reshape(-1, samples.shape[-1]),
    valid_time(modality, scene.time),
    scene,
    _picture(_assemble(images, scene.image, model.image_size, tiles), scene),
    model.trained_on,
  )


def _places(scene: Any, count: int) -> dict[str, np.ndarray]:
  """Returns latitude [N] and longitude [N] of N tiles in degrees."""
  if not count:
    return {}
  return {
    name: np.full(count, value)
    for name, value in (('lat', scene.lat), ('lon', scene.lon))
  }


def _picture(image: np.ndarray, scene: Any) -> np.ndarray:
  """Returns red, green and blue of an image [Y, X, C], stretched to [0, 1]."""
  bands = modalities.IMAGE_FIELDS[scene.name].bands
  red_green_blue = [bands.index(band) for band in ('B04', 'B03', 'B02')]
  return plots.stretch(image[..., red_green_blue])


def image_size(model: Any) -> int:
  """Returns the pixels per side of the scenes that a model sees.

  Args:
    model: model of `fusion_jax.load`.

  Raises:
    ValueError: if it generates no series.
  """
  if not hasattr(model, 'generate'):
    raise ValueError(
      f'A {type(model).__name__} generates no series; load a run of '
      'configs/pretrain.py.'
    )
  return model.image_size


def _find_target(model: Any, target: str) -> modalities.Modality:
  """Returns the series; a ValueError for a model or target without one."""
  image_size(model)
  modality = modalities.get(target, 'target')
  if modality.kind != 'series':
    raise ValueError(
      f'{target} is no weather series; choose among '
      f'{[m.name for m in model.modalities if m.leads]}.'
    )
  return modality


def cut(image: np.ndarray, size: int, tiles: bool = False) -> np.ndarray:
  """Cuts the centre of an image, or all whole tiles around the centre.

  Args:
    image: [Y, X, C].
    size: pixels per side of a tile.
    tiles: whether to cut all whole tiles.

  Returns:
    [N, size, size, C], N tiles row by row.

  Raises:
    ValueError: if the image is smaller than one tile.
  """
  top, left, rows, columns = geo.centred(image.shape, size, tiles)
  return np.stack(
    [
      image[
        top + i * size : top + (i + 1) * size,
        left + j * size : left + (j + 1) * size,
      ]
      for i in range(rows)
      for j in range(columns)
    ]
  )


def valid_time(modality: modalities.Modality, acquisition: float) -> np.ndarray:
  """Returns the valid times of a series, datetime64[s] [T], in UTC.

  Args:
    modality: modality of the series, with T leads.
    acquisition: time of the scene in seconds since 1970 UTC; leads count from
      its full hour, or from its UTC day.
  """
  leads = np.asarray(modality.leads)
  if modality.name.endswith('hourly'):
    seconds = (windows.acquisition_hour(acquisition) + leads) * windows.HOUR
  else:
    seconds = (windows.acquisition_day(acquisition) + leads) * windows.DAY
  return seconds.astype('datetime64[s]')


def write_series(
  result: SceneSeries, out: str | os.PathLike[str]
) -> list[pathlib.Path]:
  """Writes a series as CSV, NetCDF and a plot.

  Args:
    result: the series; the files are named after its scene and modality.
    out: folder to write; it is made if it does not exist.

  Returns:
    Paths of the files: SCENE_TARGET.csv (mean and quantiles by lead), .nc
    (these and all samples) and .png.

  Raises:
    MissingExtraError: if the packages of the extra 'geo' are not installed.
  """
  with extras.needed('geo', 'Writing NetCDF'):
    import h5netcdf  # noqa: F401  # The engine that xarray writes with.
    import xarray  # noqa: F401  # Needed below; asked for before any file.
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  stem = f'{result.scene.key}_{result.modality.name}'
  paths = [out / f'{stem}{ending}' for ending in ('.csv', '.nc', '.png')]
  _write_csv(result, paths[0])
  _write_netcdf(result, paths[1])
  forecast_plots.series(
    paths[2],
    result.modality.leads,
    result.samples,
    result.picture,
    f'{result.modality.name}, {result.scene.key}\n'
    f'by a model {result.trained_on}',
    result.modality.unit,
    'hours' if result.modality.name.endswith('hourly') else 'days',
  )
  return paths


def _write_csv(result: SceneSeries, path: pathlib.Path) -> None:
  with path.open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['lead', 'time_utc', *result.table, 'model'])
    columns = zip(result.modality.leads, result.time, *result.table.values())
    for lead, time, *values in columns:
      numbers = (f'{x:.3f}' for x in values)
      writer.writerow([lead, f'{time}Z', *numbers, result.trained_on])


def _write_netcdf(result: SceneSeries, path: pathlib.Path) -> None:
  import xarray

  name, unit = result.modality.name, result.modality.unit
  variables: dict[str, Any] = {
    f'{name}_{key}': ('lead', values.astype(np.float32), {'units': unit})
    for key, values in result.table.items()
  }
  variables[name] = (('sample', 'lead'), result.samples, {'units': unit})
  scene = result.scene
  xarray.Dataset(
    variables,
    {
      'lead': np.asarray(result.modality.leads, np.int32),
      'time': ('lead', result.time.astype('datetime64[ns]')),
    },
    {
      'title': f'{name} generated from {scene.key}',
      'source': f'fusion_jax {fusion_jax.__version__}',
      'trained_on': result.trained_on,
      'latitude': scene.lat,
      'longitude': scene.lon,
      'acquisition': f'{np.datetime64(int(scene.time), "s")}Z',
    },
  ).to_netcdf(path, engine='h5netcdf')


def _assemble(
  images: np.ndarray, scene: np.ndarray, size: int, tiles: bool
) -> np.ndarray:
  """Puts tiles [N, size, size, C] side by side, [Y, X, C]."""
  _, _, rows, columns = geo.centred(scene.shape, size, tiles)
  images = images.reshape(rows, columns, *images.shape[1:])
  return images.swapaxes(1, 2).reshape(
    rows * size, columns * size, images.shape[-1]
  )
