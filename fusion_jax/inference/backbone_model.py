"""The masked encoder-decoder, ready to use: features and generated series."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.data.transforms import crops
from fusion_jax.generation import sequences
from fusion_jax.inference import (
  batches,
  encoder_model,
  series_inputs,
  trained,
  xarray_inputs,
)
from fusion_jax.models import coordinate_tokenizer, series_codes
from fusion_jax.models.backbone import Backbone
from fusion_jax.ops import quantize
from fusion_jax.types import (
  Array,
  Batch,
  Config,
  Example,
  Key,
  Params,
  Statistics,
)


class BackboneModel(trained.Trained):
  """A masked encoder-decoder with all that it was trained with.

  Inputs of its methods are a mapping (or an `xarray.Dataset`) from names to
  arrays, for one place or, with one more leading axis, for B places:

    images ('S2L2A', ...): [B, Y, X, C] in the sensor's unit, north up; of a
      larger image the centre is taken.
    'lat', 'lon': [B] in degrees.
    series ('t2m_hourly', ...): [B, T] in K or mm, NaN where one is missing.

  xarray objects give xarray objects; the axes of their images are called 'y',
  'x' and 'band', in any order, and bands with names are taken by them.

  Attributes:
    config: configuration of the run.
    params: parameters of the model.
    modalities: modalities that it knows, sorted by name.
    image_size: pixels per side that it sees.
    quantizers: what encodes and decodes the values of each series, by name.
    tokenizer: tokenizer of coordinates.
    statistics: statistics of its training data.
    backbone: the model.
  """

  config: Config
  params: Params
  modalities: tuple[modality_table.Modality, ...]
  image_size: int
  quantizers: Mapping[str, quantize.Quantizer | series_codes.SeriesCodes]
  tokenizer: coordinate_tokenizer.CoordinateTokenizer
  statistics: Statistics
  backbone: Backbone

  def __init__(
    self,
    config: Config,
    params: Params,
    assembly: backbone_assembly.BackboneAssembly,
  ):
    """Takes the parameters and all that goes with the model.

    Args:
      config: configuration with the task 'pretrain', up to date.
      params: parameters of the model.
      assembly: the model with all that its inputs pass through.
    """
    self.config = config
    self.params = jax.device_put(params)
    self.modalities = assembly.modalities
    self.image_size = assembly.image_size
    self.quantizers = assembly.quantizers
    self.tokenizer = assembly.tokenizer
    self.statistics = assembly.statistics
    self.backbone = assembly.backbone
    self._showing = functools.lru_cache(assembly.showing)
    self._encode = jax.jit(
      lambda params, slots: self.backbone.apply(
        {'params': params}, slots, method='encode'
      )[0]
    )
    self._draw = jax.jit(self._draw_codes, static_argnums=(3, 4, 5))

  def encode(self, inputs: Mapping[str, Any], *, batch_size: int = 64) -> Any:
    """Computes the encoder's tokens of the inputs.

    Args:
      inputs: inputs of one or of B places, see the class.
      batch_size: number of places at a time.

    Returns:
      Tokens, [B, N, D] float32; [N, D] for one place. They stand in the order
      of the modalities, then of the positions; images have one token for each
      16 x 16 pixels, row by row.

    Raises:
      ValueError: if the model cannot see an input, or it has a wrong shape.
    """
    slots, single = self._slots(inputs)
    num_places = len(slots['modality'])
    tokens = batches.run(
      lambda rows: (jax.tree.map(lambda x: x[rows], slots),),
      lambda slots: self._encode(self.params, slots),
      num_places,
      min(batch_size, num_places),
    ).astype(np.float32)
    tokens = tokens[0] if single else tokens
    return xarray_inputs.like(inputs, tokens, single, ('token', 'feature'))

  def generate(
    self,
    inputs: Mapping[str, Any],
    target: str = 't2m_hourly',
    *,
    num_samples: int = 16,
    temperature: float = 1.0,
    top_k: float = 0,
    top_p: float = 0.0,
    seed: int = 0,
  ) -> Any:
    """Draws samples of a series, or of places.

    All places are drawn together: which samples come out depends on how many
    places there are, not only on the seed.

    Args:
      inputs: inputs of one or of B places, see the class.
      target: name of a series, or 'coords'.
      num_samples: number S of samples for each place.
      temperature: divisor of the logits; 0 takes the most probable value at
        each step.
      top_k: keep only so many of the most probable values (an integer) or such
        a share of them (a fraction); 0 keeps all.
      top_p: keep only the most probable values that together have this
        probability; 0 keeps all.
      seed: seed of the random draws.

    Returns:
      Samples, [B, S, T] float32 in K or mm; for 'coords' [B, S, 2], latitude
      and longitude in degrees, NaN where no place came out. Without B for one
      place.

    Raises:
      ValueError: if the model lacks an input or the target.
    """
    if num_samples < 1:
      raise ValueError(f'num_samples={num_samples}: give 1 sample or more.')
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
      values = np.asarray(self.quantizers[target].decode(codes))
    else:
      values = np.stack(self.tokenizer.decode(codes), axis=-1)
    values = values[0] if single else values
    axes = 'sample', ('lead' if modality.leads else 'coordinate')
    return xarray_inputs.like(inputs, values, single, axes, modality)

  def predict(
    self,
    inputs: Mapping[str, Any],
    target: str = 't2m_hourly',
    *,
    num_samples: int = 16,
    seed: int = 0,
  ) -> Any:
    """Predicts a series by the mean of its samples.

    Args:
      inputs: inputs of one or of B places, see the class.
      target: name of a series.
      num_samples: number of samples to average.
      seed: seed of the random draws.

    Returns:
      Predictions, [B, T] float32 in K or mm; [T] for one place.

    Raises:
      ValueError: if the model lacks an input or the target.
    """
    samples = self.generate(inputs, target, num_samples=num_samples, seed=seed)
    if xarray_inputs.any_xarray(inputs):
      return samples.mean('sample', keep_attrs=True)
    return samples.mean(axis=-2)

  def _draw_codes(
    self,
    params: Params,
    slots: Batch,
    key: Key,
    target: str,
    num_samples: int,
    sampling: sequences.Sampling,
  ) -> Array:
    """Returns drawn codes [B, S, L] of a target."""
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

  def _target(self, name: str) -> modality_table.Modality:
    """Returns a modality that the model can generate."""
    targets = {
      m.name: m for m in self.modalities if m.is_sequence and m.is_target
    }
    if name not in targets:
      raise ValueError(
        f'The model cannot generate {name!r}; it can {sorted(targets)}.'
      )
    return targets[name]

  def _slots(self, inputs: Mapping[str, Any]) -> tuple[Batch, bool]:
    """Returns the encoder's slots of B places, and whether B was left out."""
    arrays, names = self._arrays(inputs)
    num_axes = {name: _num_axes(name) for name in arrays}
    single = all(x.ndim == num_axes[name] for name, x in arrays.items())
    arrays = {
      name: x[None] if x.ndim == num_axes[name] else x
      for name, x in arrays.items()
    }
    counts = {name: len(x) for name, x in arrays.items()}
    if len(set(counts.values())) > 1:
      raise ValueError(
        f'The inputs are of different numbers of places: {counts}.'
      )
    trained.warn_of_inputs(self.ranges, arrays, num_axes)
    steps = self._showing(tuple(sorted(names)))
    places = [
      _apply(steps, _example(arrays, i))
      for i in range(next(iter(counts.values())))
    ]
    slots = jax.tree.map(lambda *x: np.stack(x), *places)
    used = (slots['modality'] >= 0).any(
      axis=0
    )  # Slots that are not only padding.
    return jax.tree.map(lambda x: x[:, used], slots), single

  def _arrays(
    self, inputs: Mapping[str, Any]
  ) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns the inputs as checked arrays, and the modalities they show."""
    arrays, names = {}, []
    for name, values in inputs.items():
      if name not in encoder_model.PLACE:
        modality = self._input(name)
        names.append(modality.name)
        arrays[modality.name] = _plain(modality, values)
    if set(encoder_model.PLACE) <= set(inputs):
      names.append(self._input('coords').name)
      arrays |= {
        name: np.asarray(inputs[name], np.float64)
        for name in encoder_model.PLACE
      }
    if not names:
      raise ValueError(
        'Nothing was given; the model can see '
        f'{[m.name for m in self.modalities if m.seen]}.'
      )
    return arrays, names

  def _input(self, name: str) -> modality_table.Modality:
    """Returns a modality that the model can see, at the model's image size."""
    modality = modality_table.get(name)
    seen = [m.name for m in self.modalities if m.seen]
    if modality.name not in seen:
      raise ValueError(f'The model cannot see {name!r}; it can see {seen}.')
    return modality.at(self.image_size)


def _num_axes(name: str) -> int:
  """Returns the number of axes of one place's array of an input."""
  if name in encoder_model.PLACE:
    return 0
  return encoder_model.NUM_AXES[modality_table.get(name).kind]


def _example(arrays: Mapping[str, np.ndarray], i: int) -> Example:
  """Returns place `i` as an example of a data set."""
  example: dict[str, Any] = {
    'key': f'place {i}',
    'lat': np.nan,
    'lon': np.nan,
  }
  for name, values in arrays.items():
    field = name
    if name in modality_table.MODALITIES:
      modality = modality_table.MODALITIES[name]
      if modality.kind in ('image', 'tokens'):
        field = crops.field(modality)
    example[field] = values[i]
  return example


def _apply(steps: Sequence[grain.transforms.Map], example: Example) -> Batch:
  """Returns the encoder's slots of one place, dict of arrays [N, ...]."""
  element: Any = example
  for step in steps:
    element = step.map(element)
  return element['encoder']


def _plain(modality: modality_table.Modality, values: Any) -> np.ndarray:
  """Returns one input as a checked array, its axes in our order."""
  if modality.kind == 'series':
    return series_inputs.read(values, modality.name)
  if modality.kind == 'image':
    values = xarray_inputs.image(values, modality)
  values = np.asarray(values)
  if modality.kind == 'tokens':
    encoder_model.check_codes(modality, values)
  bands = len(modality.bands)
  if modality.kind == 'image' and (
    values.ndim not in (3, 4) or values.shape[-1] != bands
  ):
    raise ValueError(
      f'{modality.name} is {values.shape}; expected [rows, columns, {bands}]'
      f' or a batch of it, with the bands {", ".join(modality.bands)}.'
    )
  return values
