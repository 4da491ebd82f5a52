"""Which tokens an encoder sees and a decoder predicts, and their slots.

The arithmetic and the order of the draws are 4M's (apple/ml-4m,
`fourm/data/masking.py`), so that recorded draws give
recorded masks. As there, **True in a mask means hidden**; `pack` turns such
masks over full grids into slots, in which only what is used remains.
"""

import numpy as np

from fusion_jax import modalities

KEEP_SCHEMES = ('random', 'all', 'binary')


def mask_image(num_tokens, input_budget, target_budget, rng):
  """Masks over an image grid, never overlapping.

  Args:
    num_tokens: L of the grid.
    input_budget: tokens seen.
    target_budget: tokens predicted; None for all that are not seen.
    rng: NumPy generator.

  Returns:
    {'input_mask', 'target_mask'} [L] bool, True where hidden, and
    'decoder_attention_mask' [L] int: the number of targets, at the first one.
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


def mask_spans(ids, hidden):
  """Replaces every run of hidden tokens by a sentinel [S_1], [S_2], ...

  Args:
    ids: [n] int, at least one.
    hidden: [n] bool.

  Returns:
    What is seen; what is to be predicted: sentinel, run, sentinel, run, ...,
    and one more sentinel that closes; where in this the sentinels stand.
  """
  starts = hidden.copy()
  starts[1:] &= ~hidden[:-1]
  runs = np.cumsum(starts)
  sentinels = modalities.FIRST_SENTINEL + runs
  seen = np.where(starts, sentinels, ids)[starts | ~hidden]
  where = (np.cumsum(hidden) + runs)[starts] - 2  # Of hidden and sentinels.
  to_predict = np.empty(hidden.sum() + len(where) + 1, ids.dtype)
  is_sentinel = np.zeros(len(to_predict), bool)
  is_sentinel[where] = is_sentinel[-1] = True
  to_predict[~is_sentinel] = ids[hidden]
  where = np.flatnonzero(is_sentinel)
  to_predict[where] = modalities.FIRST_SENTINEL + 1 + np.arange(len(where))
  return seen, to_predict, where


def _hide(count, keep, rng):
  """Hidden tokens [count] bool, and how many tokens remain with sentinels."""
  hidden = rng.random(count) > keep
  kept = ~hidden
  num_runs = hidden[0] + np.count_nonzero(hidden[1:] & kept[:-1])
  return hidden, np.count_nonzero(kept) + num_runs


def mask_sequence(ids, max_tokens, input_budget, target_budget, keep, rng):
  """Span-masks a sequence until what is seen fits its budget.

  Args:
    ids: [n] int with its [EOS], already cut to `max_tokens`.
    max_tokens: of the modality.
    input_budget: most tokens seen, at most `max_tokens`.
    target_budget: most tokens predicted.
    keep: 'random' share of tokens seen, 'all', or 'binary' all or none.
    rng: NumPy generator.

  Returns:
    'tensor' [(max_tokens + 1) * 2] int32, what is seen from index 0, what is
    to be predicted from index `input_budget`; masks as `mask_image`, with 1
    in 'decoder_attention_mask' on every target.
  """
  share = _keep(keep, input_budget, rng)
  hidden, count = _hide(len(ids), share, rng)
  while input_budget and count > input_budget:
    share *= 0.9
    hidden, count = _hide(len(ids), share, rng)
  seen, to_predict, sentinels = mask_spans(ids, hidden)
  seen = seen[:input_budget]
  to_predict = _cut_targets(to_predict, sentinels, target_budget, rng)
  grid = {'tensor': np.zeros((max_tokens + 1) * 2, np.int32)}
  grid['tensor'][: len(seen)] = seen
  targets = slice(input_budget, input_budget + len(to_predict))
  grid['tensor'][targets] = to_predict
  positions = np.arange(len(grid['tensor']))
  grid['input_mask'] = positions >= len(seen)
  grid['target_mask'] = (positions < targets.start) | (
    positions >= targets.stop
  )
  grid['decoder_attention_mask'] = (~grid['target_mask']).astype(np.int32)
  return grid


def _keep(scheme, input_budget, rng):
  if not input_budget:
    return 0.0
  if scheme == 'random':
    return rng.uniform()
  if scheme == 'binary':
    return float(rng.integers(2))
  assert scheme == 'all', scheme
  return 1.0


def _cut_targets(ids, sentinels, budget, rng):
  """At most `budget` targets, beginning with a sentinel drawn at random."""
  if len(ids) <= budget:
    return ids
  # The closing sentinel starts nothing, so it is not drawn.
  start = sentinels[rng.integers(max(1, len(sentinels) - 1))]
  if len(ids) - start >= budget:
    return ids[start : start + budget]
  return ids[sentinels[np.argmax(len(ids) - sentinels <= budget)] :]


def pack(grids, selected, num_inputs, num_targets):
  """Keeps what is seen and what is predicted, as slots.

  Slots stand in order of modality, then position: the reference's stable
  partition of its concatenated grids. Slots beyond the sizes are lost.

  Args:
    grids: {name: {'tensor', 'input_mask', 'target_mask',
      'decoder_attention_mask'}} of one example. 'tensor' is [Y, X, C] for raw
      pixels, else int, [L] or a grid of L. Modalities without an entry get no
      slot; raw pixels need the input mask only.
    selected: all modalities of the model, sorted by name. A slot's 'modality'
      is an index into this.
    num_inputs: N, encoder slots.
    num_targets: M, decoder slots.

  Returns:
    'encoder': {'modality', 'position', 'code' [N], 'patches': {name of raw
    modality: [N, 256 C], of the dtype of its tensor}}; 'decoder':
    {'modality', 'position', 'code', 'target', 'attention', 'trainable' [M]}.
    Padding is modality -1 and 0 elsewhere.
  """
  return {
    'encoder': pack_inputs(grids, selected, num_inputs),
    'decoder': _pack_targets(grids, selected, num_targets),
  }


def pack_inputs(grids, selected, num_inputs):
  """The 'encoder' part of `pack`."""
  slots = {
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


def _pack_targets(grids, selected, num_targets):
  names = ('position', 'code', 'target', 'attention')
  slots = {'modality': np.full(num_targets, -1, np.int32)}
  slots |= {name: np.zeros(num_targets, np.int32) for name in names}
  slots['trainable'] = np.zeros(num_targets, bool)
  stop = 0
  for index, modality in enumerate(selected):
    grid = grids.get(modality.name)
    if grid is None or not modality.is_target:
      continue
    made = (_sequence_targets if modality.is_sequence else _image_targets)(
      grid, modality
    )
    count = min(len(made['position']), num_targets - stop)
    rows = slice(stop, stop := stop + count)
    slots['modality'][rows] = index
    slots['trainable'][rows] = True
    for name, values in made.items():
      slots[name][rows] = values[:count]
  return slots


def _image_targets(grid, modality):
  del modality
  chosen = _shown(grid, 'target_mask')
  return {
    'position': chosen,
    'target': grid['tensor'].ravel()[chosen],
    'attention': grid['decoder_attention_mask'][chosen],
  }


def _sequence_targets(grid, modality):
  """Each target predicts the next one, so n targets make n - 1 slots."""
  chosen = _shown(grid, 'target_mask')
  pairs = np.flatnonzero(np.diff(chosen) == 1)
  here, following = chosen[pairs], chosen[pairs + 1]
  target = grid['tensor'][following]
  made = {
    'position': np.where(pairs < modality.max_tokens, pairs, 0),
    'code': grid['tensor'][here],
    'target': target,
    'attention': grid['decoder_attention_mask'][here],
  }
  if modality.kind == 'series':  # What was not measured teaches nothing.
    made['trainable'] = target != modalities.NULL
  return made


def _shown(grid, mask):
  if grid is None:
    return np.zeros(0, int)
  return np.flatnonzero(~grid[mask])


def _gather_patches(grid, visible, rows, num_slots, num_bands):
  """[num_slots, 256 C]: the visible patches in their rows, 0 elsewhere.

  Within a patch: row, column, channel, the last one fastest.
  """
  size = modalities.PATCH
  dtype = np.float32 if grid is None else grid['tensor'].dtype
  patches = np.zeros((num_slots, size * size * num_bands), dtype)
  if len(visible):
    height, width, _ = grid['tensor'].shape
    tiles = grid['tensor'].reshape(
      height // size, size, width // size, size, num_bands
    )  # A view.
    across = width // size
    chosen = tiles[visible // across, :, visible % across]
    patches[rows] = chosen.reshape(len(visible), -1)
  return patches
