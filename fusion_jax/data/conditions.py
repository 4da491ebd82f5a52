"""Encoder slots of conditions that are seen whole: what a user gives a model.

Pretraining hides most of an example (masking.py); generation, embedding and
evaluation show all of what there is.
"""

import numpy as np

from fusion_jax import modalities as modality_table


def encoder_slots(conditions, modalities):
  """Slots of whole conditions, in the order of pretraining.

  Args:
    conditions: {modality name: array}; raw images [B, Y, X, C] in the sensor's
      unit, tokenised images [B, n] or [B, Y, X] codes, sequences [B, n] ids
      without padding.
    modalities: of the model, sorted by name.

  Returns:
    {'modality', 'position', 'code': int32 [B, N], 'patches': {raw name:
    float32 [B, N, 256 C]}}, standardised; N is the number of tokens given.

  Raises:
    ValueError: if a condition is not one of the model's, or is of a wrong
      shape, or if there is none.
  """
  names = [m.name for m in modalities]
  unknown = sorted(set(conditions) - set(names))
  if unknown or not conditions:
    raise ValueError(
        f'The model cannot see {unknown or "nothing"}; give some of {names}.')
  parts = [_slots(i, m, np.asarray(conditions[m.name]))
           for i, m in enumerate(modalities) if m.name in conditions]
  slots = {key: np.concatenate([part[key] for part in parts], axis=1)
           for key in ('modality', 'position', 'code')}
  slots['patches'] = {
      m.name: np.concatenate([_rows_of(m, part) for part in parts], axis=1)
      for m in modalities if m.kind == 'image'}
  return slots


def standardise(images, modality):
  """Float32 [..., C] of pixels: the modality's mean off, over its std."""
  mean, std = (np.asarray(x, np.float32) for x in (modality.mean, modality.std))
  return (np.asarray(images, np.float32) - mean) / std


def patchify(images):
  """[B, Y, X, C] to [B, Y X / 256, 256 C]: row, column, channel in a patch."""
  side = modality_table.PATCH
  batch, height, width, channels = images.shape
  patches = images.reshape(
      batch, height // side, side, width // side, side, channels)
  return patches.transpose(0, 1, 3, 2, 4, 5).reshape(
      batch, -1, side * side * channels)


def centre_crop(image, size):
  """The middle [size, size, C] of an image [Y, X, C].

  Raises:
    ValueError: if the image is smaller.
  """
  height, width = image.shape[:2]
  if min(height, width) < size:
    raise ValueError(
        f'An image of {height} x {width} pixels is smaller than the {size} x '
        f'{size} the model sees; give a larger scene.')
  top, left = (height - size) // 2, (width - size) // 2
  return image[top:top + size, left:left + size]


def _slots(index, modality, values):
  """Slots of one modality; 'patches' holds {name: [B, n, 256 C]} or {}."""
  patches = {}
  if modality.kind == 'image':
    _check_image(modality, values)
    rows = patchify(standardise(values, modality))
    patches, codes = {modality.name: rows}, np.zeros(rows.shape[:2], np.int32)
  else:
    codes = values.reshape(len(values), -1).astype(np.int32)
    _check_codes(modality, codes)
  position = np.broadcast_to(
      np.arange(codes.shape[1], dtype=np.int32), codes.shape)
  return {'modality': np.full_like(codes, index), 'position': position,
          'code': codes, 'patches': patches}


def _rows_of(modality, part):
  """Patches of one raw modality at the slots of a part; 0 if of another."""
  width = modality_table.PATCH**2 * len(modality.bands)
  absent = np.zeros((*part['code'].shape, width), np.float32)
  return part['patches'].get(modality.name, absent)


def _check_image(modality, values):
  side = round(modality.max_tokens**0.5) * modality_table.PATCH
  wanted = (side, side, len(modality.bands))
  if values.ndim != 4 or values.shape[1:] != wanted:
    raise ValueError(
        f'{modality.name} is {values.shape}; the model sees batches of '
        f'{wanted}: rows, columns, bands {", ".join(modality.bands)}.')


def _check_codes(modality, codes):
  if codes.shape[1] > modality.max_tokens:
    raise ValueError(f'{codes.shape[1]} tokens of {modality.name}; the model '
                     f'knows at most {modality.max_tokens}.')
  if codes.size and not 0 <= codes.min() <= codes.max() < modality.vocab_size:
    raise ValueError(
        f'Codes of {modality.name} run from {codes.min()} to {codes.max()}, '
        f'outside its vocabulary of {modality.vocab_size}.')
