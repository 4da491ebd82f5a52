"""Encodes images and series of examples by tokenizers.

The codes of a patch depend on all pixels that a tokenizer sees, so a random
square of an image cannot take its codes from those of the whole image.
Therefore a few squares of every example are fixed and tokenised as they will be
shown, and training draws one of them.
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from fusion_jax import modalities
from fusion_jax.data import examples, readers
from fusion_jax.data.transforms import crops


@dataclasses.dataclass(frozen=True)
class Encoder:
  """Encodes images or series of one modality.

  Attributes:
    modality: modality of the codes, with the size of their vocabulary.
    fingerprint: digest of the configuration and the weights.
    encode: function from images [B, Y, X, C] as stored to codes
      [B, Y/16, X/16], or from series [B, T], in K or mm, to ids [B, T].
  """

  modality: modalities.Modality
  fingerprint: str
  encode: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Squares:
  """The squares of an example that are tokenised.

  Attributes:
    size: pixels per side, a multiple of the patch.
    count: number of squares; one where the images are no larger than that.
  """

  size: int
  count: int

  def __post_init__(self) -> None:
    if self.size % modalities.PATCH or self.size < modalities.PATCH:
      raise ValueError(
        f'image_size={self.size} is not a multiple of the patch '
        f'of {modalities.PATCH} pixels.'
      )
    if self.count < 1:
      raise ValueError(f'{self.count} squares; there must be one or more.')

  def corners(self, key: str, extent: Sequence[int]) -> np.ndarray:
    """Returns first row and column of every square of an example.

    Args:
      key: name of the example, which the random squares depend on.
      extent: rows and columns of its images.

    Returns:
      [count, 2] int16, in pixels: the square at the centre, then random ones.

    Raises:
      ValueError: if the images are smaller than a square.
    """
    spare = np.subtract(extent, self.size)
    if min(spare) < 0:
      raise ValueError(
        f'The images of example {key!r} have {extent[0]} x {extent[1]} '
        f'pixels, fewer than image_size={self.size}.'
      )
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    drawn = rng.integers(spare + 1, size=(self.count - 1, 2))
    return np.concatenate([spare[None] // 2, drawn]).astype(np.int16)


def tokenise(
  rows: Sequence[readers.Example],
  encoders: Sequence[Encoder],
  squares: Squares | None,
  batch_size: int,
) -> list[dict[str, np.ndarray]]:
  """Returns the codes of some examples.

  Args:
    rows: the examples.
    encoders: one encoder for each modality.
    squares: which squares of the images get codes; None if no encoder is one
      of images.
    batch_size: number of squares or series that are encoded together.

  Returns:
    The fields of every example that hold its codes, `codes/<modality>`: uint16
    [T] of series, uint16 [S, Y / 16, X / 16] of S squares of images, [0, ...]
    where the image is missing; and the corners of the squares, int16 [S, 2] in
    pixels.

  Raises:
    ValueError: if the images of an example are of several sizes, or a code
      does not lie in the vocabulary of its modality.
  """
  of_series = [e for e in encoders if e.modality.kind == 'series']
  of_images = [e for e in encoders if e.modality.kind != 'series']
  fields = (
    [{} for _ in rows]
    if squares is None
    else _tokenise_images(rows, of_images, squares, batch_size)
  )
  for encoder in of_series:
    name = encoder.modality.name
    ids = _encode(encoder, np.stack([row[name] for row in rows]), batch_size)
    for row_fields, row_ids in zip(fields, ids):
      row_fields[f'codes/{name}'] = row_ids
  return fields


def _tokenise_images(
  rows: Sequence[readers.Example],
  encoders: Sequence[Encoder],
  squares: Squares,
  batch_size: int,
) -> list[dict[str, np.ndarray]]:
  """Returns the fields of `tokenise` with the codes of images."""
  fields = [
    {crops.CORNERS: squares.corners(row['key'], _extent(row, squares.size))}
    for row in rows
  ]
  side = squares.size // modalities.PATCH
  for encoder in encoders:
    field, name = encoder.modality.field, f'codes/{encoder.modality.name}'
    present = [i for i, row in enumerate(rows) if row[field].size]
    cut = [
      rows[i][field][top : top + squares.size, left : left + squares.size]
      for i in present
      for top, left in fields[i][crops.CORNERS]
    ]
    for row_fields in fields:
      row_fields[name] = np.zeros((0, side, side), np.uint16)
    if present:
      codes = _encode(encoder, np.stack(cut), batch_size)
      codes = codes.reshape(len(present), squares.count, side, side)
      for i, row_codes in zip(present, codes):
        fields[i][name] = row_codes
  return fields


def _extent(row: readers.Example, default: int) -> tuple[int, int]:
  """Returns rows and columns of the images of an example, or a default.

  Raises:
    ValueError: if its images are of several sizes.
  """
  extents = {
    row[name].shape[:2]
    for name in examples.IMAGE_TYPES
    if name in row and row[name].size
  }
  if len(extents) > 1:
    raise ValueError(
      f'The images of example {row["key"]!r} are of several sizes: '
      f'{sorted(extents)}.'
    )
  return extents.pop() if extents else (default, default)


def _encode(
  encoder: Encoder, inputs: np.ndarray, batch_size: int
) -> np.ndarray:
  """Returns codes uint16 of images or series [N, ...], batch by batch.

  Raises:
    ValueError: if a code does not lie in the vocabulary.
  """
  modality = encoder.modality
  parts = []
  for start in range(0, len(inputs), batch_size):
    part = inputs[start : start + batch_size]
    spare = batch_size - len(part)
    padded = np.concatenate([part, np.repeat(part[-1:], spare, 0)])
    codes = np.asarray(encoder.encode(padded))[: len(part)]
    if codes.min() < 0 or codes.max() >= modality.vocab_size:
      raise ValueError(
        f'Codes of {modality.name} run from {codes.min()} to {codes.max()}; '
        f'its vocabulary is 0..{modality.vocab_size - 1}.'
      )
    parts.append(codes.astype(np.uint16))
  return np.concatenate(parts)
