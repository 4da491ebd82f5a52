"""Draws the kept maps anew, by the commands, and reads all that they hold."""

import json
import re
import shutil
from unittest import mock

import numpy as np
import rasterio
import zarr

from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import temperature
from tests.earlier import datasets, outputs

_KEPT = outputs.FOLDER / 'maps'
NAMES = ('prompts', 'classifier')
# What the kept maps do not say of themselves, or say of their version.
_NEW_TAGS = ('software', 'trained_on', 'validation', 'months', 'input_range')


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
    # The kept one was fitted on four pixels, which the command now refuses.
    with mock.patch.object(calibration_lib, 'FEWEST', 4):
      temperature.calibrate(model, folder / 'data')
    calibration = json.loads((model / 'calibration.json').read_text())
    for row in calibration:
      del row['interval']  # It had none.
  out, vectors = folder / 'map.tif', folder / 'vectors.zarr'
  datasets.run(
    'fusion_jax.map_scene',
    *('--checkpoint', model, '--scene', _KEPT / 'cube.nc', '--out', out),
    *('--embeddings', vectors, *arguments),
  )
  return _read_map(out, folder) | _read_zarr(vectors) | _flat(calibration)


def _read_map(path, folder):
  with rasterio.open(path) as file:
    about = {k: v for k, v in file.tags().items() if k not in _NEW_TAGS}
    confidence = about['confidence'].replace(f'{folder}/', '')
    about['confidence'] = re.sub(r' \[.*\] fitted', ' fitted', confidence)
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
