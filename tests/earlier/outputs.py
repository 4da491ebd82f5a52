"""What kept models are asked, all through `fusion_jax.load`."""

import pathlib
import shutil

import numpy as np

FOLDER = pathlib.Path(__file__).parents[1] / 'testdata' / 'earlier'


def ask(kind, model, inputs):
  """Outputs of a loaded model.

  Args:
    kind: which of the functions below.
    model: of `fusion_jax.load`.
    inputs: {name: array}, as kept.

  Returns:
    {name: array}.
  """
  return {name: np.asarray(x) for name, x in _ASK[kind](model, inputs).items()}


def compare(result, kept, *, rtol=1e-5, atol=1e-5):
  """Raises unless whole numbers are the same and floats are as close.

  `atol` counts in units of the largest kept value of an array. Processors with
  other vector instructions differ by 2.5e-6 of it, through several layers.
  """
  assert result.keys() == kept.keys()
  for name, expected in kept.items():
    assert result[name].shape == expected.shape, name
    assert result[name].dtype == expected.dtype, name
    if expected.dtype.kind != 'f':
      np.testing.assert_array_equal(result[name], expected, err_msg=name)
      continue
    largest = np.nanmax(np.abs(expected), initial=0)
    np.testing.assert_allclose(
      result[name], expected, rtol=rtol, atol=atol * largest, err_msg=name
    )


def unpack(path, folder):
  """The kept folder of that path, unpacked in `folder`."""
  target = folder / pathlib.Path(path).name
  shutil.unpack_archive(FOLDER / f'{path}.zip', target)
  return target


def read(path):
  """{name: array} of a kept file, its inputs and its outputs apart."""
  with np.load(FOLDER / path) as file:
    arrays = {name: file[name] for name in file.files}
  return tuple(
    {
      name.removeprefix(prefix): x
      for name, x in arrays.items()
      if name.startswith(prefix)
    }
    for prefix in ('in/', 'out/')
  )


def _backbone(model, inputs):
  image = {'S2L2A': inputs['S2L2A']}
  place = {name: inputs[name] for name in ('lat', 'lon')}
  with_weather = image | place | {'t2m_hourly': inputs['t2m_hourly']}
  return {
    'encode_image': model.encode(image),
    'encode_all': model.encode(with_weather),
    'encode_one': model.encode({'S2L2A': inputs['S2L2A'][0]}),
    'generate': model.generate(image | place, num_samples=3, seed=5),
    'generate_greedy': model.generate(image, num_samples=1, temperature=0),
    'generate_top': model.generate(
      image, num_samples=2, temperature=0.8, top_k=40, top_p=0.9, seed=6
    ),
    'generate_coords': model.generate(image, 'coords', num_samples=2, seed=7),
    'predict': model.predict(image | place, num_samples=4, seed=8),
  }


def _converted_backbone(model, inputs):
  return {
    'encode_image': model.encode({'DEM': inputs['DEM']}),
    'encode_codes': model.encode({'LULC': inputs['LULC']}),
    'encode_both': model.encode(dict(inputs)),
  }


def _codec(model, inputs):
  codes = model.encode(inputs['images'])
  result = {
    'decode': model.decode(codes),
    'decode_steps': model.decode(codes, num_steps=4, seed=3, clip=2.0),
    'decode_codes': model.decode(inputs['codes'], seed=4),
  }
  some = {name: images[:, ::3, ::5] for name, images in result.items()}
  return some | {'encode': codes}


def _series(model, inputs):
  return {
    'encode': model.encode(inputs['series']),
    'decode': model.decode(inputs['ids']),
    'decode_encoded': model.decode(model.encode(inputs['series'])),
  }


def _pixels(model, inputs):
  pixels, quarters = inputs['pixels'], inputs['pixels'][:, 1::3]
  result = {
    'encode': model.encode(pixels),
    'encode_some': model.encode(pixels, inputs['valid'], normalize=False),
    'encode_quarterly': model.encode(pixels, setting='quarterly'),
    'encode_single': model.encode(pixels, setting='single'),
    'encode_quarters': model.encode(quarters),
    'encode_days': model.encode(pixels[:, :7], days=inputs['days']),
  }
  if model.classes:
    result['predict'] = model.predict(pixels)
  if 'views' in inputs:
    result['pool_views'] = model.pool_views(inputs['views'])
  return result


def _clip(model, inputs):
  return {
    'embed_images': model.embed_images(list(inputs['images'])),
    'embed_images_raw': model.embed_images(
      list(inputs['images']), normalize=False
    ),
  }


_ASK = {
  'backbone': _backbone,
  'converted_backbone': _converted_backbone,
  'codec': _codec,
  'series': _series,
  'pixels': _pixels,
  'clip': _clip,
}
