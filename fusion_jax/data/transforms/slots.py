"""From tokens to the slots of an example: budgets, masks, packing.

Every transform returns a new dict and leaves its input alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.data import budgets, masking
from fusion_jax.data.transforms import crops, steps
from fusion_jax.types import Example, Standards

_NULL = modality_table.NULL


@dataclasses.dataclass(frozen=True)
class SampleTokenBudgets(steps.RandomMap):
  """Draws how many tokens of each modality are seen and predicted.

  Reads images, codes and 'ids'. A modality that the example lacks gets no
  token, and a series without any measurement is never predicted. Adds
  'budgets', ({name of a modality: number seen}, {name: number predicted}).

  Attributes:
    selected: modalities of the model, sorted by name.
    mixture: distribution of the budgets of just these modalities.

  Raises:
    ValueError: if the mixture has other modalities, or if it predicts raw
      pixels.
  """

  selected: crops.Modalities
  mixture: budgets.Mixture

  def __post_init__(self) -> None:
    names = {m.name for m in self.selected}
    if names != set(self.mixture.input_alphas):
      raise ValueError(
        f'The mixture has alphas of {sorted(self.mixture.input_alphas)}, but '
        f'the model has the modalities {sorted(names)}; give alphas for just '
        'these.'
      )
    raw = [
      m.name
      for m in self.selected
      if not m.is_target and any(self.mixture.target_alphas[m.name])
    ]
    if raw:
      raise ValueError(
        f'{raw} are raw pixels, which cannot be predicted; set their '
        'target_alphas to 0.'
      )

  def random_map(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with 'budgets'."""
    available = [m.name for m in self.selected if crops.is_present(example, m)]
    ids = example.get('ids', {})
    measured = [
      name
      for name in available
      if name not in ids or (ids[name][:-1] != _NULL).any()
    ]
    return {
      **example,
      'budgets': budgets.sample_budgets(
        self.mixture, self.selected, rng, available, measured
      ),
    }


@dataclasses.dataclass(frozen=True)
class MaskImages(steps.RandomMap):
  """Chooses the visible and the predicted patches of every image.

  Reads images, codes and 'budgets'. Adds to 'grids' what `masking.pack` reads.

  Attributes:
    selected: modalities of the model, sorted by name.
  """

  selected: crops.Modalities

  def random_map(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with the grids of its images."""
    grids = dict(example.get('grids', {}))
    for m in self.selected:
      if m.is_sequence or not crops.is_present(example, m):
        continue
      seen, predicted = (part[m.name] for part in example['budgets'])
      grids[m.name] = {
        'tensor': example[crops.field(m)],
        **masking.mask_image(m.max_tokens, seen, predicted, rng),
      }
    return {**example, 'grids': grids}


@dataclasses.dataclass(frozen=True)
class MaskSequences(steps.RandomMap):
  """Hides spans of coordinates and weather.

  Reads 'ids' and 'budgets'. Adds to 'grids' what `masking.pack` reads.

  Attributes:
    selected: modalities of the model, sorted by name.
    keep: share of a sequence that is seen, a scheme of `masking.mask_sequence`.

  Raises:
    ValueError: if there is no such scheme.
  """

  selected: crops.Modalities
  keep: str = 'random'

  def __post_init__(self) -> None:
    if self.keep not in masking.KEEP_SCHEMES:
      raise ValueError(
        f'There is no keep scheme {self.keep!r}; choose one of '
        f'{masking.KEEP_SCHEMES}.'
      )

  def random_map(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with the grids of its sequences."""
    grids = dict(example.get('grids', {}))
    for m in self.selected:
      if not m.is_sequence or not crops.is_present(example, m):
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
class PackSlots(steps.Map):
  """Gathers what is seen and predicted into slots.

  Reads 'grids'. Adds 'encoder' and 'decoder', as `masking.pack` describes them;
  patches are still in the unit and dtype of the sensor.

  Attributes:
    selected: modalities of the model, sorted by name.
    num_inputs: N, number of encoder slots.
    num_targets: M, number of decoder slots.
  """

  selected: crops.Modalities
  num_inputs: int
  num_targets: int

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with its slots."""
    return {
      **example,
      **masking.pack(
        example['grids'], self.selected, self.num_inputs, self.num_targets
      ),
    }


@dataclasses.dataclass(frozen=True)
class DropWords(steps.RandomMap):
  """Hides the values before a target from the decoder, in some examples.

  The hours before a target tell more about it than any image does. Where all
  inputs are [UNK], every target must come from what the encoder saw. Reads and
  replaces 'decoder': inputs that are values of a series become [UNK], targets
  stay.

  Attributes:
    selected: modalities of the model, sorted by name.
    share: fraction of the examples in which the inputs are hidden, 0..1.

  Raises:
    ValueError: if `share` is outside 0..1.

  Source: word dropout (Bowman et al. 2016, Sec. 3.1), for whole examples.
  """

  selected: crops.Modalities
  share: float

  def __post_init__(self) -> None:
    if not 0 <= self.share <= 1:
      raise ValueError(
        f'word_dropout={self.share} is not a share; give a number from 0 to 1.'
      )

  def random_map(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with the decoder's inputs hidden or not."""
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
class ShowInputs(steps.Map):
  """Shows some modalities whole, to generate others from them.

  Reads images, codes and 'ids'. Adds 'encoder' as `PackSlots` does, with as
  many slots as `inputs` have tokens at most.

  Attributes:
    selected: modalities of the model, sorted by name.
    inputs: names of the modalities to show.

  Raises:
    ValueError: if `inputs` is empty, or if the model lacks one of them.
  """

  selected: crops.Modalities
  inputs: Sequence[str]

  def __post_init__(self) -> None:
    known = sorted(m.name for m in self.selected)
    unknown = sorted(set(self.inputs) - set(known))
    if unknown or not self.inputs:
      raise ValueError(
        f'The model cannot see {unknown or "nothing"}; choose inputs among '
        f'{known}.'
      )

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with encoder slots."""
    grids, size = {}, 0
    for m in self.selected:
      if m.name not in self.inputs:
        continue
      size += m.max_tokens
      if crops.is_present(example, m):
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
class Standardise(steps.Map):
  """Subtracts the mean of each band and divides by its standard deviation.

  Reads 'encoder' and, if the example has it, 'S2L1C_offset', which newer
  processing baselines add to every pixel of S2L1C. Replaces the patches by
  float32 ones; pixels without a value (NaN, in floats only) become the mean.

  Attributes:
    selected: modalities of the model, sorted by name.
    standards: {name of a raw image: (mean, standard deviation)}, [C] float32
      each, in the stored unit.
  """

  selected: crops.Modalities
  standards: Standards

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with standardised patches."""
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


def _standardise(
  patches: np.ndarray, member: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> np.ndarray:
  """Standardises the patches of one modality.

  Args:
    patches: [N, 256 C], in the stored unit.
    member: [N] bool, True for slots of the modality, which are consecutive.
    mean: [C] float32, mean of each band in the stored unit.
    std: [C] float32, standard deviation of each band in the stored unit.

  Returns:
    [N, 256 C] float32; 0 in all other slots.
  """
  standardised = np.zeros(patches.shape, np.float32)
  members = np.flatnonzero(member)
  if len(members):
    rows = slice(members[0], members[-1] + 1)
    values = standardised[rows]
    # Whole patches: loops over the bands alone would be short, and slow.
    repeats = patches.shape[1] // len(mean)
    np.subtract(patches[rows], np.tile(mean, repeats), out=values)
    values /= np.tile(std, repeats)
    if patches.dtype.kind == 'f':
      values[~np.isfinite(values)] = 0
  return standardised
