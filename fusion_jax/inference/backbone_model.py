"""The masked encoder-decoder, ready to use; `inference.load` gives it."""

import functools
from collections.abc import Mapping

import jax
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data.transforms import crops
from fusion_jax.generation import sequences
from fusion_jax.inference import encoder_model

_PLACE = ('lat', 'lon')
_AXES = ('y', 'x', 'band')  # Of an image, as xarray names them here.


class Model:
  """A masked encoder-decoder with all that it was trained with.

  Inputs of its methods are a mapping (or an `xarray.Dataset`) from names to
  arrays, for one place or, with one more leading axis, for B places:

    images ('S2L2A', ...): [B, Y, X, C] in the sensor's unit, north up; of a
      larger image the centre is taken.
    'lat', 'lon': [B] degrees.
    series ('t2m_hourly', ...): [B, T] in K or mm, NaN = missing.

  From xarray objects come xarray objects; the axes of their images are called
  'y', 'x' and 'band', in any order.

  Attributes:
    config: of the run.
    params: of the model.
    modalities: that it knows, sorted by name.
    image_size: pixels a side that it sees.
    quantizers: {series: Quantizer}.
    tokenizer: of coordinates.
    statistics: of its training data.
  """

  def __init__(self, config, params, task):
    """Args: as the attributes; task: `Pretrain` of the configuration."""
    self.config = config
    self.params = jax.device_put(params)
    self.modalities = task.modalities
    self.image_size = config.image_size
    self.quantizers = task.quantizers
    self.tokenizer = task.tokenizer
    self.statistics = task.statistics
    self.backbone = task.backbone
    self._showing = functools.lru_cache(task.showing)
    self._encode = jax.jit(
      lambda params, slots: self.backbone.apply(
        {'params': params}, slots, method='encode'
      )[0]
    )
    self._draw = jax.jit(self._draw_codes, static_argnums=(3, 4, 5))

  def encode(self, inputs):
    """Encoder tokens of the inputs, [B, N, D] float32 ([N, D] for one place).

    Tokens stand in order of modality, then position; images have one for each
    16 x 16 pixels, row by row.
    """
    slots, single = self._slots(inputs)
    tokens = np.asarray(self._encode(self.params, slots), np.float32)
    tokens = tokens[0] if single else tokens
    return _like(inputs, tokens, single, ('token', 'feature'))

  def generate(
    self,
    inputs,
    target='t2m_hourly',
    *,
    num_samples=16,
    temperature=1.0,
    top_k=0,
    top_p=0.0,
    seed=0,
  ):
    """Draws samples of a series, or of places.

    Args:
      inputs: see the class.
      target: name of a series, or 'coords'.
      num_samples: S.
      temperature: 0 takes the most probable value at each step.
      top_k: keep so many values (int) or such a share of them (float); 0: all.
      top_p: keep the most probable values that hold this mass; 0: all.
      seed: of the draws.

    Returns:
      [B, S, T] in K or mm; for 'coords' [B, S, 2], latitude and longitude in
      degrees, NaN where no place came out. Without B for one place.

    Raises:
      ValueError: if the model lacks an input or the target.
    """
    modality = self._target(target)
    slots, single = self._slots(inputs)
    codes = np.asarray(
      self._draw(
        self.params,
        slots,
        jax.random.key(seed),
        target,
        num_samples,
        sequences.Sampling(temperature, top_k, top_p),
      )
    )
    if modality.kind == 'series':
      values = self.quantizers[target].decode(codes)
    else:
      values = np.stack(self.tokenizer.decode(codes), axis=-1)
    values = values[0] if single else values
    axes = 'sample', ('lead' if modality.leads else 'coordinate')
    return _like(inputs, values, single, axes, modality)

  def predict(self, inputs, target='t2m_hourly', *, num_samples=16, seed=0):
    """The point prediction, the mean of the samples: [B, T] or [T]."""
    samples = self.generate(inputs, target, num_samples=num_samples, seed=seed)
    if _is_xarray(inputs):
      return samples.mean('sample', keep_attrs=True)
    return samples.mean(axis=-2)

  def _draw_codes(self, params, slots, key, target, num_samples, sampling):
    kind = self._target(target).kind
    draw = sequences.series if kind == 'series' else sequences.text
    return draw(
      self.backbone,
      params,
      slots,
      key,
      target,
      num_samples=num_samples,
      sampling=sampling,
    )

  def _target(self, name):
    targets = {
      m.name: m for m in self.modalities if m.is_sequence and m.is_target
    }
    if name not in targets:
      raise ValueError(
        f'The model cannot generate {name!r}; it can {sorted(targets)}.'
      )
    return targets[name]

  def _slots(self, inputs):
    """Encoder slots of all places, and whether there was one without axis."""
    arrays, shown = {}, []
    for name, values in inputs.items():
      if name not in _PLACE:
        shown.append(self._input(name))
        arrays[shown[-1].name] = _plain(shown[-1], values)
    if set(_PLACE) <= set(inputs):
      shown.append(self._input('coords'))
      arrays |= {name: np.asarray(inputs[name], np.float64) for name in _PLACE}
    if not shown:
      raise ValueError(
        'Nothing was given; the model can see '
        f'{[m.name for m in self.modalities if m.seen]}.'
      )
    single = all(x.ndim == self._rank(name) for name, x in arrays.items())
    arrays = {
      name: x[None] if x.ndim == self._rank(name) else x
      for name, x in arrays.items()
    }
    counts = {name: len(x) for name, x in arrays.items()}
    if len(set(counts.values())) > 1:
      raise ValueError(
        f'The inputs are of different numbers of places: {counts}.'
      )
    steps = self._showing(tuple(sorted(m.name for m in shown)))
    rows = [
      _apply(steps, self._example(arrays, i))
      for i in range(next(iter(counts.values())))
    ]
    slots = jax.tree.map(lambda *x: np.stack(x), *rows)
    shown = (slots['modality'] >= 0).any(axis=0)  # Not padding everywhere.
    return jax.tree.map(lambda x: x[:, shown], slots), single

  def _input(self, name):
    modality = modality_table.get(name)
    seen = [m.name for m in self.modalities if m.seen]
    if modality.name not in seen:
      raise ValueError(f'The model cannot see {name!r}; it can see {seen}.')
    return modality.at(self.image_size)

  def _rank(self, name):
    """Axes of one place's array."""
    if name in _PLACE:
      return 0
    return {'image': 3, 'tokens': 2}.get(modality_table.get(name).kind, 1)

  def _example(self, arrays, i):
    """Place `i` as an example of a data set."""
    example = {'key': f'place {i}', 'lat': np.nan, 'lon': np.nan}
    for name, values in arrays.items():
      modality = modality_table.MODALITIES.get(name)
      if modality is not None and modality.kind in ('image', 'tokens'):
        name = crops.field(modality)
      example[name] = values[i]
    return example


def _apply(steps, example):
  for step in steps:
    example = step.map(example)
  return example['encoder']


def _plain(modality, values):
  """A NumPy array of one input, its axes in our order, checked."""
  if hasattr(values, 'dims') and modality.kind == 'image':
    missing = [axis for axis in _AXES if axis not in values.dims]
    if missing:
      raise ValueError(
        f'{modality.name} has the axes {values.dims}, not '
        f'{missing}; rename them.'
      )
    values = values.transpose(..., *_AXES)
  values = np.asarray(values)
  if modality.kind == 'tokens':
    encoder_model.check_codes(modality, values)
  bands = len(modality.bands)
  if modality.kind == 'image' and (
    values.ndim not in (3, 4) or values.shape[-1] != bands
  ):
    raise ValueError(
      f'{modality.name} is {values.shape}; wanted is [rows, columns, {bands}]'
      f' or a batch of it, with the bands {", ".join(modality.bands)}.'
    )
  if modality.kind == 'series' and values.shape[-1] != len(modality.leads):
    raise ValueError(
      f'{modality.name} is {values.shape}; wanted are '
      f'{len(modality.leads)} values, leads '
      f'{modality.leads[0]}..{modality.leads[-1]}.'
    )
  return values


def _is_xarray(inputs):
  values = inputs.values() if isinstance(inputs, Mapping) else ()
  return any(hasattr(x, 'dims') for x in values)


def _like(inputs, values, single, axes, modality=None):
  """An xarray object where the inputs were some, else the array itself."""
  if not _is_xarray(inputs):
    return values
  import xarray  # Whoever gives xarray objects has it.

  coords, attrs, name = {}, {}, None
  if modality is not None:
    name, attrs = modality.name, {'units': modality.unit}
    last = modality.leads or ('lat', 'lon')
    coords = {axes[-1]: list(last)}
  dims = axes if single else ('place', *axes)
  return xarray.DataArray(values, coords, dims, name, attrs)
