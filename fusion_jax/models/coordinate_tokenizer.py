"""Places <-> two tokens of a Hugging Face `tokenizers` file.

A place is rounded to the 0.25 degree grid and written as
`lat=47.25 lon=8.50 [EOS]`, one token per word. The ids come from the file, so
TerraMind's own vocabulary (30,000 entries) can replace ours.
Source: terrastackai/terratorch, `tokenizer/text/text_tokenizer.py`.
"""

import os
import pathlib
from collections.abc import Mapping

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from fusion_jax import modalities
from fusion_jax.types import Array

STEP = 0.25  # Degrees.
_LIMITS = {'lat': 90, 'lon': 180}  # Degrees.


def build() -> 'CoordinateTokenizer':
  """Returns the tokenizer of our vocabulary.

  It has special tokens with the ids 0 to 203, then 721 latitudes and 1,441
  longitudes.
  """
  words = ['[PAD]', '[UNK]', '[SOS]', '[EOS]']
  words += [f'[S_{i}]' for i in range(modalities.NUM_SENTINELS)]
  words += [_word('lat', i) for i in range(-360, 361)]
  words += [_word('lon', i) for i in range(-720, 721)]
  tokenizer = tokenizers.Tokenizer(
    models.WordLevel(
      {word: i for i, word in enumerate(words)}, unk_token='[UNK]'
    )
  )
  tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
  return CoordinateTokenizer(tokenizer)


def load(path: str | os.PathLike[str]) -> 'CoordinateTokenizer':
  """Returns the tokenizer of a file.

  Args:
    path: JSON file of the library `tokenizers`.

  Raises:
    ValueError: if it is no such file, or its vocabulary has no coordinates.
  """
  try:
    return CoordinateTokenizer(tokenizers.Tokenizer.from_file(str(path)))
  except Exception as error:  # The library raises nothing narrower.
    raise ValueError(
      f'{path} is no file of a coordinate tokenizer: {error}'
    ) from error


class CoordinateTokenizer:
  """Looks places up in a vocabulary of `lat=..` and `lon=..` words.

  Attributes:
    eos: id of [EOS], which ends a place.
    num_words: number of ids, the highest one plus 1; at most the number of
      rows of the model's embedding table.
  """

  eos: int
  num_words: int

  def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
    """Reads the ids of all coordinates.

    Args:
      tokenizer: tokenizer whose vocabulary has the words described above.

    Raises:
      ValueError: if its vocabulary has no coordinates or no [EOS].
    """
    vocabulary = tokenizer.get_vocab()
    self._tokenizer = tokenizer
    self._ids = {axis: _ids(axis, vocabulary) for axis in _LIMITS}
    self._negative_zeros = {
      axis: vocabulary.get(f'{axis}=-0.00') for axis in _LIMITS
    }
    for axis, ids in self._ids.items():
      if (ids < 0).all() or '[EOS]' not in vocabulary:
        raise ValueError(
          f"The vocabulary has no word like '{axis}=0.25', or no [EOS]; it "
          f'starts with {sorted(vocabulary, key=vocabulary.__getitem__)[:5]}. '
          'Is this the file of a coordinate tokenizer?'
        )
    self.eos = vocabulary['[EOS]']
    self.num_words = max(vocabulary.values()) + 1
    self._values = _values(vocabulary, self.num_words)

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the JSON file that `load` reads, unless it is there.

    The file appears under its name only when it is complete.

    Args:
      path: the file.
    """
    path = pathlib.Path(path)
    content = self._tokenizer.to_str(pretty=True).encode()
    if path.exists() and path.read_bytes() == content:
      return
    temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
      with temporary.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
      temporary.replace(path)
    finally:
      temporary.unlink(missing_ok=True)

  def to_json(self) -> str:
    """Returns the text of this file, to be stored inside a checkpoint."""
    return self._tokenizer.to_str()

  def encode(self, lat: Array | float, lon: Array | float) -> np.ndarray:
    """Returns the ids of latitudes, longitudes and [EOS].

    Args:
      lat: [...] float, degrees north in [-90, 90].
      lon: [...] float, degrees east in [-180, 180].

    Returns:
      [..., 3] int32. Half of a grid step is rounded to the even step; minus
      zero is plain zero, unless the vocabulary has a word for it.

    Raises:
      ValueError: if a place is NaN or outside the vocabulary.
    """
    ids = np.stack([self._look_up('lat', lat), self._look_up('lon', lon)], -1)
    return np.concatenate([ids, np.full_like(ids[..., :1], self.eos)], -1)

  def decode(self, ids: Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of sequences of ids.

    Args:
      ids: [..., n] int, n >= 2; only the first two ids are read, that of the
        latitude first.

    Returns:
      Latitudes and longitudes, [...] float64 in degrees each; NaN where an id
      does not stand for a coordinate of its axis.
    """
    ids = np.asarray(ids)
    known = (ids >= 0) & (ids < self.num_words)
    values = self._values[:, np.where(known, ids, 1)]  # 1 is [UNK].
    values = np.where(known, values, np.nan)
    return values[0, ..., 0], values[1, ..., 1]

  def _look_up(self, axis: str, degrees: Array | float) -> np.ndarray:
    """Ids [...] int32 of coordinates [...] on the axis 'lat' or 'lon'."""
    degrees = np.asarray(degrees, np.float64)
    table = self._ids[axis]
    steps = np.round(degrees / STEP)  # Half to even.
    inside = np.abs(steps) <= len(table) // 2  # False for NaN.
    row = np.where(inside, steps, 0).astype(int) + len(table) // 2
    ids = np.where(inside, table[row], -1)
    negative_zero = self._negative_zeros[axis]
    if negative_zero is not None:
      below = np.signbit(steps) & (steps == 0)
      ids = np.where(below, negative_zero, ids)
    if (ids < 0).any():
      bad = np.atleast_1d(degrees)[np.atleast_1d(ids < 0)][0]
      raise ValueError(
        f'{axis}={bad} is not in the vocabulary of coordinates; give {axis} '
        f'within [-{_LIMITS[axis]}, {_LIMITS[axis]}] degrees.'
      )
    return ids.astype(np.int32)


def _word(axis: str, steps: int) -> str:
  """The word of a grid step; as an integer, 0 has no sign."""
  return f'{axis}={steps * STEP:.2f}'


def _ids(axis: str, vocabulary: Mapping[str, int]) -> np.ndarray:
  """Id of every grid step from -limit to limit, -1 for steps without a word."""
  steps = int(_LIMITS[axis] / STEP)
  return np.array(
    [vocabulary.get(_word(axis, i), -1) for i in range(-steps, steps + 1)]
  )


def _values(vocabulary: Mapping[str, int], num_words: int) -> np.ndarray:
  """Degrees [2, num_words] of every id, as a latitude and as a longitude.

  They are NaN where an id does not stand for a coordinate of this axis.
  """
  values = np.full((2, num_words), np.nan)
  for word, i in vocabulary.items():
    axis, _, number = word.partition('=')
    if axis in _LIMITS and number:
      values[list(_LIMITS).index(axis), i] = float(number)
  return values
