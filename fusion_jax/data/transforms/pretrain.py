"""The steps of pretraining, from an example on disk to its slots.

Every transform returns a new dict and leaves its input alone. Pixels that the
model does not see are never converted: what is visible is chosen first, then
gathered, then standardised. `pretraining` puts the steps in order.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data import budgets
from fusion_jax.data.transforms import crops, slots, steps
from fusion_jax.ops import quantize
from fusion_jax.types import Example, Standards

_END = np.array([modality_table.EOS], np.int32)


class CoordinateTokenizer(Protocol):
  """What is needed of the tokenizer of coordinates."""

  def encode(self, lat: float, lon: float) -> np.ndarray:
    """Returns the ids of a place in degrees: latitude, longitude, [EOS]."""
    ...


def pretraining(
  selected: crops.Modalities,
  *,
  image_size: int,
  mixture: budgets.Mixture,
  quantizers: Mapping[str, quantize.Quantizer],
  tokenizer: CoordinateTokenizer,
  standards: Standards,
  num_slots: tuple[int, int],
  keep: str = 'random',
  word_dropout: float = 0.0,
  train: bool = True,
) -> tuple[steps.Step, ...]:
  """Returns the steps from an example to its slots.

  Args:
    selected: modalities of the model, sorted by name, at `image_size`.
    image_size: pixels per side of the crop, which is random in training and at
      the centre otherwise.
    mixture: distribution of the budgets of modalities.
    quantizers: {name of a series: its value bins}, as `normalize.quantizers`
      returns them.
    tokenizer: tokenizer of coordinates.
    standards: {name of a raw image: (mean, standard deviation)}, as
      `normalize.standards` returns them.
    num_slots: numbers of encoder slots N and decoder slots M.
    keep: share of a sequence that is seen, a scheme of `masking.mask_sequence`.
    word_dropout: fraction of examples in which `DropWords` hides the decoder's
      inputs, 0..1; in training only.
    train: whether to crop at random and to drop words.

  Returns:
    Grain transforms for `pipelines.train_batches` and `eval_batches`.
  """
  crop = crops.RandomCrop if train else crops.CentreCrop
  drop = ()
  if train and word_dropout:
    drop = (slots.DropWords(selected, word_dropout),)
  return (
    crop(selected, image_size),
    QuantizeSeries(quantizers),
    EncodeCoordinates(tokenizer),
    slots.SampleTokenBudgets(selected, mixture),
    slots.MaskImages(selected),
    slots.MaskSequences(selected, keep),
    slots.PackSlots(selected, *num_slots),
    *drop,
    slots.Standardise(selected, standards),
    steps.Keep(('encoder', 'decoder', 'clipped')),
  )


def showing(
  selected: crops.Modalities,
  inputs: Sequence[str],
  *,
  image_size: int,
  quantizers: Mapping[str, quantize.Quantizer],
  tokenizer: CoordinateTokenizer,
  standards: Standards,
) -> tuple[steps.Map, ...]:
  """Returns the steps from an example to encoder slots that show inputs whole.

  Args:
    selected: modalities of the model, sorted by name, at `image_size`.
    inputs: names of the modalities to show.
    image_size: pixels per side of the crop at the centre.
    quantizers: {name of a series: its value bins}, as `normalize.quantizers`
      returns them.
    tokenizer: tokenizer of coordinates.
    standards: {name of a raw image: (mean, standard deviation)}, as
      `normalize.standards` returns them.
  """
  return (
    crops.CentreCrop(selected, image_size),
    QuantizeSeries(quantizers),
    EncodeCoordinates(tokenizer),
    slots.ShowInputs(selected, inputs),
    slots.Standardise(selected, standards),
  )


@dataclasses.dataclass(frozen=True)
class QuantizeSeries(steps.Map):
  """Turns weather values into ids, with [EOS] at the end.

  Reads the series. Adds them to 'ids', {name of a series: [T + 1] int32}, and
  adds 'clipped' int32, the number of values outside their bins, which get the
  first or last bin.

  Attributes:
    quantizers: {name of a series: its value bins}.
  """

  quantizers: Mapping[str, quantize.Quantizer]

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with the ids of its series."""
    ids, clipped = dict(example.get('ids', {})), 0
    for name, quantizer in self.quantizers.items():
      if name in example:
        values = example[name]
        ids[name] = np.concatenate([quantizer.encode(values), _END])
        clipped += int(quantizer.clipped(values).sum())
    return {**example, 'ids': ids, 'clipped': np.int32(clipped)}


@dataclasses.dataclass(frozen=True)
class EncodeCoordinates(steps.Map):
  """Turns the place into ids: latitude, longitude, [EOS].

  Reads 'lat' and 'lon' in degrees. Adds 'coords' to 'ids', unless the place is
  NaN.

  Attributes:
    tokenizer: tokenizer of coordinates.
  """

  tokenizer: CoordinateTokenizer

  def map(self, example: Example) -> Example:
    """Returns the example with the ids of its place."""
    place = example['lat'], example['lon']
    if np.isnan(place).any():
      return example
    ids = {'coords': self.tokenizer.encode(*place)}
    return {**example, 'ids': {**example.get('ids', {}), **ids}}
