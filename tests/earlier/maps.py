"""Draws the kept maps anew, by the commands, and reads all that they hold."""

import json
import shutil

import numpy as np
import rasterio
import zarr

from tests.earlier import datasets, outputs

_KEPT = outputs.FOLDER / 'maps'
NAMES = ('prompts', 'classifier')


def draw(name, folder):
  """Calibrates a kept model where it can be, and maps the kept cube.

  Args:
    name: 'prompts' for the encoder and vectors of prompts, 'classifier' for
      the classifier after its calibration.
    folder: to work in.

  Returns:
    {name: array} and under 'tags' what is text.
  """
  source = 'encoder' if name == 'prompts' else 'classifier'
  model = outputs.unpack(f'maps/{source}', folder)
  arguments, calibration = [], {}
  if name == 'prompts':
    arguments = ['--prompts', _KEPT / 'prompts.npz', '--temperature', 2.5]
  else:
    shutil.unpack_archive(
      outputs.FOLDER / 'data' / 'simulated_pixels.zip', folder / 'data'
    )
    datasets.run(
      'fusion_jax.calibrate', '--checkpoint', model, '--data', folder / 'data'
    )
    calibration = json.loads((model / 'calibration.json').read_text())
  out, vectors = folder / 'map.tif', folder / 'vectors.zarr'
  datasets.run(
    'fusion_jax.map_scene',
    *('--checkpoint', model, '--scene', _KEPT / 'cube.nc', '--out', out),
    *('--embeddings', vectors, *arguments),
  )
  return _read_map(out, folder) | _read_zarr(vectors) | _flat(calibration)


def _read_map(path, folder):
  with rasterio.open(path) as file:
    about = {k: v for k, v in file.tags().items() if k != 'software'}
    about['confidence'] = about['confidence'].replace(f'{folder}/', '')
    tags = {
      'file': about,
      'bands': [file.tags(band) for band in file.indexes],
      'descriptions': list(file.descriptions),
      'colours': {
        str(k): list(colour)
        for k, colour in file.colormap(1).items()
        if colour != (0, 0, 0, 255)
      },
      'crs': file.crs.to_string(),
      'nodata': file.nodata,
    }
    return {
      'tif/bands': file.read(),
      'tif/transform': np.array(file.transform),
      'tags': tags,
    }


def _read_zarr(path):
  group = zarr.open_group(path, mode='r')
  return {f'zarr/{name}': array[...] for name, array in group.arrays()}


def _flat(calibration):
  """The numbers of a calibration, in the order of the file."""
  leaves, result = [calibration], []
  while leaves:
    leaf = leaves.pop()
    if isinstance(leaf, dict):
      leaves.extend(leaf.values())
    elif isinstance(leaf, list):
      leaves.extend(leaf)
    elif isinstance(leaf, (int, float)):
      result.append(float(leaf))
  return {'calibration': np.array(sorted(result))} if result else {}
