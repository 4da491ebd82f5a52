"""From an example on disk to the slots of a batch, one small step each.

Every transform returns a new dict and leaves its input alone. Pixels that the
model does not see are never converted: what is visible is chosen first, then
gathered, then standardised. `pretraining` puts the steps in order.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data import budgets, masking
from fusion_jax.data.transforms import crops

Modalities = Sequence[modality_table.Modality]
_END = np.array([modality_table.EOS], np.int32)
_NULL = modality_table.NULL


def pretraining(
  selected,
  *,
  image_size,
  mixture,
  quantizers,
  tokenizer,
  standards,
  num_inputs,
  num_targets,
  keep='random',
  word_dropout=0.0,
  train=True,
):
  """The steps from an example to its slots, for `pipelines.train_batches`.

  Args:
    selected: modalities of the model, sorted, at `image_size`.
    image_size: pixels of the crop, random for training, else at the centre.
    mixture: `budgets.Mixture`.
    quantizers: {series: Quantizer}, from `normalize.quantizers`.
    tokenizer: of coordinates.
    standards: {raw image: (mean, std)}, from `normalize.standards`.
    num_inputs: N, encoder slots.
    num_targets: M, decoder slots.
    keep: scheme of `masking.mask_sequence`.
    word_dropout: see `DropWords`; in training only.
    train: whether to crop at random.
  """
  crop = crops.RandomCrop if train else crops.CentreCrop
  drop = (DropWords(selected, word_dropout),) if train and word_dropout else ()
  return (
    crop(selected, image_size),
    QuantizeSeries(quantizers),
    EncodeCoordinates(tokenizer),
    SampleTokenBudgets(selected, mixture),
    MaskImages(selected),
    MaskSequences(selected, keep),
    PackSlots(selected, num_inputs, num_targets),
    *drop,
    Standardise(selected, standards),
    Keep(('encoder', 'decoder', 'clipped')),
  )


def showing(selected, inputs, *, image_size, quantizers, tokenizer, standards):
  """The steps from an example to encoder slots that show `inputs` whole."""
  return (
    crops.CentreCrop(selected, image_size),
    QuantizeSeries(quantizers),
    EncodeCoordinates(tokenizer),
    ShowInputs(selected, inputs),
    Standardise(selected, standards),
  )


@dataclasses.dataclass(frozen=True)
class QuantizeSeries(grain.transforms.Map):
  """Turns weather values into ids with [EOS] at the end.

  Reads the series. Adds them to `ids`, {modality: int32 [T + 1]}, and
  `clipped`, how many values lay outside their bins and went to the end bins.
  """

  quantizers: Mapping[str, Any]

  def map(self, example):
    ids, clipped = dict(example.get('ids', {})), 0
    for name, quantizer in self.quantizers.items():
      if name in example:
        values = example[name]
        ids[name] = np.concatenate([quantizer.encode(values), _END])
        clipped += int(quantizer.clipped(values).sum())
    return {**example, 'ids': ids, 'clipped': np.int32(clipped)}


@dataclasses.dataclass(frozen=True)
class EncodeCoordinates(grain.transforms.Map):
  """Turns the place into ids: latitude, longitude, [EOS].

  Reads `lat`, `lon`. Adds 'coords' to `ids`, unless the place is NaN.
  """

  tokenizer: Any

  def map(self, example):
    place = example['lat'], example['lon']
    if np.isnan(place).any():
      return example
    ids = {'coords': self.tokenizer.encode(*place)}
    return {**example, 'ids': {**example.get('ids', {}), **ids}}


@dataclasses.dataclass(frozen=True)
class SampleTokenBudgets(grain.transforms.RandomMap):
  """Draws how many tokens of each modality are seen and predicted.

  Reads images, codes and `ids`: what the example lacks gets no token, and a
  series without any measurement is never predicted. Adds `budgets`,
  ({modality: seen}, {modality: predicted}).
  """

  selected: Modalities
  mixture: budgets.Mixture

  def __post_init__(self):
    names = {m.name for m in self.selected}
    if names != set(self.mixture.input_alphas):
      raise ValueError(
        f'The mixture has alphas of {sorted(self.mixture.input_alphas)}, the '
        f'model the modalities {sorted(names)}; give alphas for just these.'
      )
    raw = [
      m.name
      for m in self.selected
      if not m.is_target and any(self.mixture.target_alphas[m.name])
    ]
    if raw:
      raise ValueError(
        f'{raw} are raw pixels, which cannot be predicted; set '
        'their target_alphas to 0.'
      )

  def random_map(self, example, rng):
    shown = [m.name for m in self.selected if crops.is_there(example, m)]
    ids = example.get('ids', {})
    measured = [
      name
      for name in shown
      if name not in ids or (ids[name][:-1] != _NULL).any()
    ]
    return {
      **example,
      'budgets': budgets.sample_budgets(
        self.mixture, self.selected, rng, shown, measured
      ),
    }


@dataclasses.dataclass(frozen=True)
class MaskImages(grain.transforms.RandomMap):
  """Chooses the visible and the predicted patches of every image.

  Reads images, codes and `budgets`. Adds to `grids` what `masking.pack` reads.
  """

  selected: Modalities

  def random_map(self, example, rng):
    grids = dict(example.get('grids', {}))
    for m in self.selected:
      if m.is_sequence or not crops.is_there(example, m):
        continue
      seen, predicted = (part[m.name] for part in example['budgets'])
      grids[m.name] = {
        'tensor': example[crops.field(m)],
        **masking.mask_image(m.max_tokens, seen, predicted, rng),
      }
    return {**example, 'grids': grids}


@dataclasses.dataclass(frozen=True)
class MaskSequences(grain.transforms.RandomMap):
  """Hides spans of coordinates and weather.

  Reads `ids` and `budgets`. Adds to `grids` what `masking.pack` reads.
  """

  selected: Modalities
  keep: str = 'random'

  def __post_init__(self):
    if self.keep not in masking.KEEP_SCHEMES:
      raise ValueError(
        f'There is no keep scheme {self.keep!r}; choose one of '
        f'{masking.KEEP_SCHEMES}.'
      )

  def random_map(self, example, rng):
    grids = dict(example.get('grids', {}))
    for m in self.selected:
      if not m.is_sequence or not crops.is_there(example, m):
        continue
      seen, predicted = (part[m.name] for part in example['budgets'])
      if seen or predicted:
        grids[m.name] = masking.mask_sequence(
          example['ids'][m.name][: m.max_tokens],
          m.max_tokens,
          seen,
          predicted,
          self.keep,
          rng,
        )
    return {**example, 'grids': grids}


@dataclasses.dataclass(frozen=True)
class PackSlots(grain.transforms.Map):
  """Gathers what is seen and predicted into slots.

  Reads `grids`. Adds `encoder` and `decoder`, as `masking.pack` describes;
  patches are still in the unit and type of the sensor.
  """

  selected: Modalities
  num_inputs: int
  num_targets: int

  def map(self, example):
    return {
      **example,
      **masking.pack(
        example['grids'], self.selected, self.num_inputs, self.num_targets
      ),
    }


@dataclasses.dataclass(frozen=True)
class DropWords(grain.transforms.RandomMap):
  """Hides from a decoder what came before, in a share of the examples.

  The hours before a target tell more than any image. Where all of them are
  [UNK], every target has to come from what the encoder saw. Reads and replaces
  `decoder`: the inputs that are values of a series; targets stay.

  Source: word dropout (Bowman et al. 2016, Sec. 3.1), for whole examples.
  """

  selected: Modalities
  share: float  # Of the examples, 0..1.

  def __post_init__(self):
    if not 0 <= self.share <= 1:
      raise ValueError(f'word_dropout={self.share} is not a share, 0..1.')

  def random_map(self, example, rng):
    if rng.uniform() >= self.share:
      return example
    slots = example['decoder']
    series = [i for i, m in enumerate(self.selected) if m.kind == 'series']
    values = np.isin(slots['modality'], series) & (
      slots['code'] >= modality_table.NULL
    )
    code = np.where(values, np.int32(modality_table.UNK), slots['code'])
    return {**example, 'decoder': {**slots, 'code': code}}


@dataclasses.dataclass(frozen=True)
class ShowInputs(grain.transforms.Map):
  """Shows some modalities whole, to generate others from them.

  Reads images, codes and `ids`. Adds `encoder` as `PackSlots` does, with as
  many slots as `inputs` have tokens at most.
  """

  selected: Modalities
  inputs: Sequence[str]  # Names of modalities.

  def __post_init__(self):
    known = sorted(m.name for m in self.selected)
    unknown = sorted(set(self.inputs) - set(known))
    if unknown or not self.inputs:
      raise ValueError(
        f'The model cannot see {unknown or "nothing"}; choose '
        f'inputs among {known}.'
      )

  def map(self, example):
    grids, size = {}, 0
    for m in self.selected:
      if m.name not in self.inputs:
        continue
      size += m.max_tokens
      if crops.is_there(example, m):
        tensor = (
          example['ids'][m.name] if m.is_sequence else example[crops.field(m)]
        )
        count = len(tensor) if m.is_sequence else m.max_tokens
        grids[m.name] = {'tensor': tensor, 'input_mask': np.zeros(count, bool)}
    return {
      **example,
      'encoder': masking.pack_inputs(grids, self.selected, size),
    }


@dataclasses.dataclass(frozen=True)
class Standardise(grain.transforms.Map):
  """Subtracts each band's mean and divides by its standard deviation.

  Reads `encoder` and, where the example has it, `S2L1C_offset`, which newer
  processing baselines add to every pixel of S2L1C. Replaces the patches by
  float32 ones; pixels without a value (NaN, in floats only) become the mean.
  """

  selected: Modalities
  standards: Mapping[str, tuple[np.ndarray, np.ndarray]]

  def map(self, example):
    slots = example['encoder']
    patches = {}
    for index, m in enumerate(self.selected):
      if m.kind == 'image':
        mean, std = self.standards[m.name]
        offset = example.get(f'{m.field}_offset', 0)
        patches[m.name] = _standardise(
          slots['patches'][m.name],
          slots['modality'] == index,
          mean + np.float32(offset),
          std,
        )
    return {**example, 'encoder': {**slots, 'patches': patches}}


@dataclasses.dataclass(frozen=True)
class Keep(grain.transforms.Map):
  """Drops every field but these."""

  fields: Sequence[str]

  def map(self, example):
    return {field: example[field] for field in self.fields}


def _standardise(patches, rows, mean, std):
  """Float32 patches [N, 256 C]; the rows of other slots stay 0."""
  standardised = np.zeros(patches.shape, np.float32)
  rows = np.flatnonzero(rows)
  if len(rows):  # Slots of one modality stand together.
    rows = slice(rows[0], rows[-1] + 1)
    pixels = patches[rows].reshape(-1, len(mean))
    values = standardised[rows].reshape(-1, len(mean))
    np.subtract(pixels, mean, out=values)
    values /= std
    if patches.dtype.kind == 'f':
      values[~np.isfinite(values)] = 0
  return standardised
