"""Places <-> two tokens of a Hugging Face `tokenizers` file.

A place is rounded to the 0.25 degree grid and written
`lat=47.25 lon=8.50 [EOS]`, one token a word. The ids come from the file, so
TerraMind's own vocabulary (30,000 entries) can replace ours.
Source: terrastackai/terratorch, `tokenizer/text/text_tokenizer.py`.
"""

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

from fusion_jax import modalities

STEP = 0.25  # Degrees.
_LIMITS = {'lat': 90, 'lon': 180}


def build():
  """Our vocabulary: specials 0..203, 721 latitudes, then 1441 longitudes."""
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


def load(path):
  """The tokenizer in the `tokenizers` JSON file at `path`.

  Raises:
    ValueError: if it is no such file, or has no coordinates.
  """
  try:
    return CoordinateTokenizer(tokenizers.Tokenizer.from_file(str(path)))
  except Exception as error:  # The library raises nothing narrower.
    raise ValueError(
      f'{path} is no file of a coordinate tokenizer: {error}'
    ) from error


class CoordinateTokenizer:
  """Looks places up in a vocabulary of `lat=..` and `lon=..` words."""

  def __init__(self, tokenizer):
    """Reads the ids.

    Args:
      tokenizer: `tokenizers.Tokenizer` with the words described above.

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
          f'starts with {sorted(vocabulary, key=vocabulary.get)[:5]}. Is '
          'this the file of a coordinate tokenizer?'
        )
    self.eos = vocabulary['[EOS]']
    self.num_words = max(vocabulary.values()) + 1  # At most the table's size.
    self._values = _values(vocabulary, self.num_words)

  def save(self, path):
    """Writes the `tokenizers` file that `load` reads."""
    self._tokenizer.save(str(path))

  def to_json(self):
    """The text of that file, to travel inside a checkpoint."""
    return self._tokenizer.to_str()

  def encode(self, lat, lon):
    """Ids of the latitude, the longitude and [EOS].

    Args:
      lat: [...] float, degrees north.
      lon: [...] float, degrees east, in [-180, 180].

    Returns:
      [..., 3] int32. Half of a grid step is rounded to the even step; minus
      zero is plain zero, unless the vocabulary has a word for it.

    Raises:
      ValueError: if a place is NaN or outside the vocabulary.
    """
    ids = np.stack([self._look_up('lat', lat), self._look_up('lon', lon)], -1)
    return np.concatenate([ids, np.full_like(ids[..., :1], self.eos)], -1)

  def decode(self, ids):
    """Places of id sequences.

    Args:
      ids: [..., n >= 2] int; only the first two are read, latitude first.

    Returns:
      lat, lon: [...] float64 degrees, NaN where an id is not of its axis.
    """
    ids = np.asarray(ids)
    known = (ids >= 0) & (ids < self.num_words)
    values = self._values[:, np.where(known, ids, 1)]  # 1 is [UNK].
    values = np.where(known, values, np.nan)
    return values[0, ..., 0], values[1, ..., 1]

  def _look_up(self, axis, degrees):
    degrees = np.asarray(degrees, np.float64)
    table = self._ids[axis]
    steps = np.round(degrees / STEP)  # Half to even.
    inside = np.abs(steps) <= len(table) // 2  # False for NaN.
    row = np.where(inside, steps, 0).astype(int) + len(table) // 2
    ids = np.where(inside, table[row], -1)
    if self._negative_zeros[axis] is not None:
      below = np.signbit(steps) & (steps == 0)
      ids = np.where(below, self._negative_zeros[axis], ids)
    if (ids < 0).any():
      bad = np.atleast_1d(degrees)[np.atleast_1d(ids < 0)][0]
      raise ValueError(
        f'{axis}={bad} is not in the vocabulary of coordinates; give {axis} '
        f'within [-{_LIMITS[axis]}, {_LIMITS[axis]}] degrees.'
      )
    return ids.astype(np.int32)


def _word(axis, steps):
  return f'{axis}={steps * STEP:.2f}'  # Whole numbers know no -0.00.


def _ids(axis, vocabulary):
  """Id of every grid step from -limit to +limit, -1 where there is none."""
  steps = int(_LIMITS[axis] / STEP)
  return np.array(
    [vocabulary.get(_word(axis, i), -1) for i in range(-steps, steps + 1)]
  )


def _values(vocabulary, num_words):
  """[2, num_words] degrees of each id as a latitude, as a longitude; or NaN."""
  values = np.full((2, num_words), np.nan)
  for word, i in vocabulary.items():
    axis, _, number = word.partition('=')
    if axis in _LIMITS and number:
      values[list(_LIMITS).index(axis), i] = float(number)
  return values
