"""Which tokens an encoder sees and a decoder predicts, and their slots.

The arithmetic and the order of the random draws are those of 4M (apple/ml-4m,
`fourm/data/masking.py`), so that recorded draws give recorded masks. As in 4M,
**True in a mask means hidden**. `pack` turns such masks over full grids into
slots, which contain only the tokens that are used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusion_jax import modalities

# 'tensor', 'input_mask', 'target_mask' and 'decoder_attention_mask' of one
# modality of an example.
Grid = Mapping[str, np.ndarray]

KEEP_SCHEMES = ('random', 'all', 'binary')


def mask_image(
  num_tokens: int,
  input_budget: int,
  target_budget: int | None,
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Draws the visible and the predicted tokens of an image; none is both.

  Args:
    num_tokens: L, number of tokens of the grid.
    input_budget: number of tokens seen.
    target_budget: number of tokens predicted; None for all that are not seen.
    rng: generator of the random draws.

  Returns:
    'input_mask' and 'target_mask', [L] bool each, True where hidden; and
    'decoder_attention_mask' [L] int32, which has the number of targets at the
    first target and is 0 elsewhere.
  """
  order = np.argsort(rng.random(num_tokens))
  if target_budget is None:
    target_budget = num_tokens - input_budget
  last = input_budget + target_budget
  target_mask = (order < input_budget) | (order >= last)
  attention = np.zeros(num_tokens, np.int32)
  attention[np.argmin(target_mask)] = (~target_mask).sum()
  return {
    'input_mask': order >= input_budget,
    'target_mask': target_mask,
    'decoder_attention_mask': attention,
  }


def mask_spans(
  ids: np.ndarray, hidden: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Replaces every run of hidden tokens by a sentinel [S_1], [S_2], ...

  Args:
    ids: [n] int, at least one token.
    hidden: [n] bool, True for tokens that are hidden.

  Returns:
    What is seen, [seen] int; what is to be predicted, [predicted] int: a
    sentinel, its run, the next sentinel, its run, ..., and one more sentinel
    that closes; and the positions of the sentinels in what is to be predicted.
  """
  indices = hidden.nonzero()[0]
  starts = np.ones(len(indices), bool)  # Whether a run starts at an index.
  starts[1:] = indices[1:] - indices[:-1] > 1
  firsts = starts.nonzero()[0]
  numbers = np.arange(len(indices) + 1)
  sentinels = modalities.FIRST_SENTINEL + 1 + numbers[: len(firsts) + 1]
  positions = np.append(firsts, len(indices)) + numbers[: len(sentinels)]
  to_predict = np.empty(len(indices) + len(sentinels), ids.dtype)
  to_predict[numbers[:-1] + starts.cumsum()] = ids[indices]
  to_predict[positions] = sentinels
  shown = ~hidden
  runs = indices[firsts]
  shown[runs] = True
  seen = ids.copy()
  seen[runs] = sentinels[:-1]
  return seen[shown], to_predict, positions


def _fits(hidden: np.ndarray, budget: int) -> bool:
  """Whether what is seen, with one sentinel a hidden run, is in its budget."""
  count = len(hidden) - np.count_nonzero(hidden)
  if count > budget:
    return False
  runs = np.count_nonzero(hidden[1:] > hidden[:-1]) + bool(hidden[0])
  return bool(count + runs <= budget)


def mask_sequence(
  ids: np.ndarray,
  max_tokens: int,
  input_budget: int,
  target_budget: int,
  keep: str,
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Hides spans of a sequence until what is seen fits its budget.

  Args:
    ids: [n] int with its [EOS], n at most `max_tokens`.
    max_tokens: length of the longest sequence of this modality.
    input_budget: largest number of tokens seen, at most `max_tokens`.
    target_budget: largest number of tokens predicted.
    keep: share of tokens seen: 'random' draws it, 'all' shows all tokens,
      'binary' draws all or none.
    rng: generator of the random draws.

  Returns:
    'tensor' [(max_tokens + 1) * 2] int32: what is seen from index 0 on, what is
    to be predicted from index `input_budget` on; 'input_mask' and
    'target_mask', bool of this length, True where hidden; and
    'decoder_attention_mask', int32 of this length, 1 at every target.
  """
  share = _keep(keep, input_budget, rng)
  hidden = rng.random(len(ids)) > share
  while input_budget and not _fits(hidden, input_budget):
    share *= 0.9
    hidden = rng.random(len(ids)) > share
  seen, to_predict, sentinels = mask_spans(ids, hidden)
  seen = seen[:input_budget]
  to_predict = _cut_targets(to_predict, sentinels, target_budget, rng)
  tensor = np.zeros((max_tokens + 1) * 2, np.int32)
  tensor[: len(seen)] = seen
  targets = slice(input_budget, input_budget + len(to_predict))
  tensor[targets] = to_predict
  input_mask = np.ones(len(tensor), bool)
  input_mask[: len(seen)] = False
  target_mask = np.ones(len(tensor), bool)
  target_mask[targets] = False
  attention = np.zeros(len(tensor), np.int32)
  attention[targets] = 1
  return {
    'tensor': tensor,
    'input_mask': input_mask,
    'target_mask': target_mask,
    'decoder_attention_mask': attention,
  }


def _keep(scheme: str, input_budget: int, rng: np.random.Generator) -> float:
  """Draws the share of tokens that is seen."""
  if not input_budget:
    return 0.0
  if scheme == 'random':
    return rng.uniform()
  if scheme == 'binary':
    return float(rng.integers(2))
  assert scheme == 'all', scheme
  return 1.0


def _cut_targets(
  ids: np.ndarray,
  sentinels: np.ndarray,
  budget: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Returns at most `budget` targets, from a randomly drawn sentinel on."""
  if len(ids) <= budget:
    return ids
  # The closing sentinel starts no run, so it is not drawn.
  start = sentinels[rng.integers(max(1, len(sentinels) - 1))]
  if len(ids) - start >= budget:
    return ids[start : start + budget]
  return ids[sentinels[np.argmax(len(ids) - sentinels <= budget)] :]


def pack(
  grids: Mapping[str, Grid],
  selected: Sequence[modalities.Modality],
  num_inputs: int,
  num_targets: int,
) -> dict[str, dict[str, Any]]:
  """Gathers the tokens that are seen and predicted into slots.

  Slots are ordered by modality, then position: the reference's stable
  partition of its concatenated grids. Tokens that find no slot are lost.

  Args:
    grids: {name of a modality: 'tensor', 'input_mask', 'target_mask' and
      'decoder_attention_mask'} of one example. 'tensor' is [Y, X, C] for raw
      pixels, and otherwise [L] or a grid of L tokens, int. A modality without
      an entry gets no slot; raw pixels need the input mask only.
    selected: all modalities of the model, sorted by name. The 'modality' of a
      slot is an index into this sequence.
    num_inputs: N, number of encoder slots.
    num_targets: M, number of decoder slots.

  Returns:
    'encoder': 'modality', 'position' and 'code', [N] int32 each, and 'patches',
    {name of a raw modality: [N, 256 C], of the dtype of its tensor}; 'decoder':
    'modality', 'position', 'code', 'target' and 'attention', [M] int32 each,
    and 'trainable' [M] bool. Padding has the modality -1, and 0 elsewhere.
  """
  return {
    'encoder': pack_inputs(grids, selected, num_inputs),
    'decoder': _pack_targets(grids, selected, num_targets),
  }


def pack_inputs(
  grids: Mapping[str, Grid],
  selected: Sequence[modalities.Modality],
  num_inputs: int,
) -> dict[str, Any]:
  """Gathers the tokens that are seen into encoder slots.

  Args:
    grids: {name of a modality: 'tensor' and 'input_mask'} of one example, as
      `pack` takes them.
    selected: all modalities of the model, sorted by name.
    num_inputs: N, number of encoder slots.

  Returns:
    'modality', 'position' and 'code', [N] int32 each, and 'patches', {name of a
    raw modality: [N, 256 C], of the dtype of its tensor}.
  """
  slots: dict[str, Any] = {
    'modality': np.full(num_inputs, -1, np.int32),
    'position': np.zeros(num_inputs, np.int32),
    'code': np.zeros(num_inputs, np.int32),
    'patches': {},
  }
  stop = 0
  for index, modality in enumerate(selected):
    grid = grids.get(modality.name)
    visible = _shown(grid, 'input_mask')[: num_inputs - stop]
    rows = slice(stop, stop := stop + len(visible))
    slots['modality'][rows] = index
    slots['position'][rows] = (
      np.arange(len(visible)) if modality.is_sequence else visible
    )
    if modality.kind == 'image':
      slots['patches'][modality.name] = _gather_patches(
        grid, visible, rows, num_inputs, len(modality.bands)
      )
    elif grid is not None:
      slots['code'][rows] = grid['tensor'].ravel()[visible]
  return slots


def _pack_targets(
  grids: Mapping[str, Grid],
  selected: Sequence[modalities.Modality],
  num_targets: int,
) -> dict[str, np.ndarray]:
  """Gathers the tokens that are predicted into decoder slots."""
  names = ('position', 'code', 'target', 'attention')
  slots = {'modality': np.full(num_targets, -1, np.int32)}
  slots |= {name: np.zeros(num_targets, np.int32) for name in names}
  slots['trainable'] = np.zeros(num_targets, bool)
  stop = 0
  for index, modality in enumerate(selected):
    grid = grids.get(modality.name)
    if grid is None or not modality.is_target:
      continue
    targets = (_sequence_targets if modality.is_sequence else _image_targets)(
      grid, modality
    )
    count = min(len(targets['position']), num_targets - stop)
    rows = slice(stop, stop := stop + count)
    slots['modality'][rows] = index
    slots['trainable'][rows] = True
    for name, values in targets.items():
      slots[name][rows] = values[:count]
  return slots


def _image_targets(
  grid: Grid, modality: modalities.Modality
) -> dict[str, np.ndarray]:
  """Returns position, target and attention of the targets of an image."""
  del modality
  chosen = _shown(grid, 'target_mask')
  return {
    'position': chosen,
    'target': grid['tensor'].ravel()[chosen],
    'attention': grid['decoder_attention_mask'][chosen],
  }


def _sequence_targets(
  grid: Grid, modality: modalities.Modality
) -> dict[str, np.ndarray]:
  """Returns the slots of a sequence.

  Each target predicts the next one, so n targets make n - 1 slots.
  """
  chosen = _shown(grid, 'target_mask')
  pairs = (chosen[1:] - chosen[:-1] == 1).nonzero()[0]
  current, following = chosen[pairs], chosen[pairs + 1]
  target = grid['tensor'][following]
  slots = {
    'position': np.where(pairs < modality.max_tokens, pairs, 0),
    'code': grid['tensor'][current],
    'target': target,
    'attention': grid['decoder_attention_mask'][current],
  }
  if modality.kind == 'series':  # A value that was not measured is no target.
    slots['trainable'] = target != modalities.NULL
  return slots


def _shown(grid: Grid | None, mask: str) -> np.ndarray:
  """Returns the positions that a mask does not hide, int."""
  if grid is None:
    return np.zeros(0, int)
  return (~grid[mask]).nonzero()[0]


def _gather_patches(
  grid: Grid | None,
  visible: np.ndarray,
  rows: slice,
  num_slots: int,
  num_bands: int,
) -> np.ndarray:
  """Returns the visible patches in their rows, 0 elsewhere, [slots, 256 C].

  Within a patch the order is row, column, channel, with the channel fastest.
  """
  size = modalities.PATCH
  dtype = np.float32 if grid is None else grid['tensor'].dtype
  patches = np.zeros((num_slots, size * size * num_bands), dtype)
  if grid is not None and len(visible):
    height, width, _ = grid['tensor'].shape
    tiles = grid['tensor'].reshape(
      height // size, size, width // size, size, num_bands
    )  # A view.
    across = width // size
    chosen = tiles[visible // across, :, visible % across]
    patches[rows] = chosen.reshape(len(visible), -1)
  return patches
