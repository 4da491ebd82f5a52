"""The table of modalities: what each one is, and how it becomes tokens.

Keys are TerraMind's where it has the modality: they are hashed to ids, and
their alphabetical order decides which tokens are dropped when slots run out.
Source of ids, vocabularies and statistics: TerraMind v1
(terrastackai/terratorch, commit 85467a9, `terramind_register.py`). Weather is
this library's own, in the same scheme.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Literal

PATCH = 16  # Pixels per side of an image patch.
SERIES_BINS = 500  # Value bins of a uniform or quantile weather vocabulary.

# Ids shared by every sequence vocabulary (4M, `fourm/utils/tokenizer`).
PAD, UNK, SOS, EOS = 0, 1, 2, 3
FIRST_SENTINEL, NUM_SENTINELS = 4, 200  # [S_0]..[S_199] are ids 4..203.
# Of series only: a missing value, and precipitation below 0.01 mm.
NULL, ZERO = 204, 205
VALUE_OFFSET = 206  # Id of the first value bin of a series.

S2L2A_BANDS: tuple[str, ...] = (
  'B01',
  'B02',
  'B03',
  'B04',
  'B05',
  'B06',
  'B07',
  'B08',
  'B8A',
  'B09',
  'B11',
  'B12',
)
S2L1C_BANDS: tuple[str, ...] = S2L2A_BANDS[:10] + ('B10',) + S2L2A_BANDS[10:]

# Offsets of hourly series from the hour of the acquisition, in hours.
HOURLY_LEADS: tuple[int, ...] = tuple(range(-47, 13))
# Offsets of daily series from the UTC day of the acquisition, in days.
DAILY_LEADS: tuple[int, ...] = tuple(range(-29, 11))


@dataclasses.dataclass(frozen=True)
class Modality:
  """One kind of input or target.

  Attributes:
    name: unique key, which decides the id and the order.
    kind: 'image' is raw pixels as linear patches (input only), 'tokens' a grid
      of codes of an image tokenizer, 'text' a short sequence of words, 'series'
      a weather sequence of codes.
    unit: unit of the stored values.
    bands: names of the bands in storage order, or of the variables.
    max_tokens: number of positions of the full grid, or length of the longest
      sequence with its [EOS].
    vocab_size: number of codes; 0 for raw pixels.
    field: name of the field of an example on disk that holds the values.
    mean: mean of each band in the stored unit, subtracted before patches or
      tokenizer (TerraMind's own).
    std: standard deviation of each band in the stored unit, which values are
      divided by.
    leads: time steps of a series, as offsets from the acquisition in hours or
      days.
    seen: whether the encoder of a model has an embedding of this modality.
    predicted: whether its decoder has one; raw pixels never have one.
    ordered: whether the codes of a series are value bins in ascending order,
      with [ZERO] for dry steps; learned codes have neither.
  """

  name: str
  kind: Literal['image', 'tokens', 'text', 'series']
  unit: str
  bands: tuple[str, ...]
  max_tokens: int
  vocab_size: int
  field: str
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  leads: tuple[int, ...] = ()
  seen: bool = True
  predicted: bool = True
  ordered: bool = True

  @property
  def id(self) -> int:
    """Number in TerraMind's checkpoints: SHA-256 of the name modulo 2^15."""
    return (
      int.from_bytes(hashlib.sha256(self.name.encode()).digest(), 'big') % 2**15
    )

  @property
  def is_sequence(self) -> bool:
    """Whether the tokens are a sequence, not a grid."""
    return self.kind in ('text', 'series')

  @property
  def is_target(self) -> bool:
    """Whether a decoder can predict the modality; raw pixels are input only."""
    return self.predicted and self.vocab_size > 0

  def at(self, image_size: int) -> 'Modality':
    """Returns the modality for square images of another size.

    Args:
      image_size: pixels per side of the images, a multiple of the patch.

    Raises:
      ValueError: if the images do not divide into patches.
    """
    if self.is_sequence:
      return self
    if image_size % PATCH:
      raise ValueError(
        f'image_size={image_size} is not a multiple of the patch of {PATCH} '
        f'pixels; try {max(1, round(image_size / PATCH)) * PATCH}.'
      )
    return dataclasses.replace(self, max_tokens=(image_size // PATCH) ** 2)


def _image(
  name: str,
  field: str,
  unit: str,
  bands: tuple[str, ...],
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Modality:
  return Modality(name, 'image', unit, bands, 196, 0, field, mean, std)


def _tokens(
  name: str,
  field: str,
  unit: str,
  bands: tuple[str, ...],
  mean: tuple[float, ...],
  std: tuple[float, ...],
  vocab_size: int = 15_360,
) -> Modality:
  return Modality(
    name, 'tokens', unit, bands, 196, vocab_size, field, mean, std
  )


def _series(name: str, unit: str, leads: tuple[int, ...]) -> Modality:
  return Modality(
    name,
    'series',
    unit,
    (name.split('_')[0],),
    len(leads) + 2,
    VALUE_OFFSET + SERIES_BINS,
    name,
    leads=leads,
  )


_S2L2A = (
  'S2L2A',
  'reflectance x 1e4',
  S2L2A_BANDS,
  (
    1390.458,
    1503.317,
    1718.197,
    1853.91,
    2199.1,
    2779.975,
    2987.011,
    3083.234,
    3132.22,
    3162.988,
    2424.884,
    1857.648,
  ),
  (
    2106.761,
    2141.107,
    2038.973,
    2134.138,
    2085.321,
    1889.926,
    1820.257,
    1871.918,
    1753.829,
    1797.379,
    1434.261,
    1334.311,
  ),
)
_S2L1C = (
  'S2L1C',
  'reflectance x 1e4',
  S2L1C_BANDS,
  (
    2357.089,
    2137.385,
    2018.788,
    2082.986,
    2295.651,
    2854.537,
    3122.849,
    3040.56,
    3306.481,
    1473.847,
    506.07,
    2472.825,
    1838.929,
  ),
  (
    1624.683,
    1675.806,
    1557.708,
    1833.702,
    1823.738,
    1733.977,
    1732.131,
    1679.732,
    1727.26,
    1024.687,
    442.165,
    1331.411,
    1160.419,
  ),
)
_S2RGB = (
  'S2RGB',
  'grey level',
  ('B04', 'B03', 'B02'),
  (87.271, 80.931, 66.667),
  (58.767, 47.663, 42.631),
)
_S1GRD = ('S1GRD', 'dB', ('vv', 'vh'), (-12.599, -20.293), (5.195, 5.890))
_S1RTC = ('S1RTC', 'dB', ('vv', 'vh'), (-10.93, -17.329), (4.391, 4.459))
_DEM = ('DEM', 'm', ('elevation',), (670.665,), (951.272,))
_NDVI = ('NDVI', '1', ('ndvi',), (0.327,), (0.322,))
_LULC = ('LULC', 'class 0..9', ('lulc',), (0.0,), (1.0,))

_ALL = (
  _image('untok_sen2l2a@224', *_S2L2A),
  _image('untok_sen2l1c@224', *_S2L1C),
  _image('untok_sen2rgb@224', *_S2RGB),
  _image('untok_sen1grd@224', *_S1GRD),
  _image('untok_sen1rtc@224', *_S1RTC),
  _image('untok_dem@224', *_DEM),
  _tokens('tok_sen2l2a@224', *_S2L2A),
  _tokens('tok_sen1grd@224', *_S1GRD),
  _tokens('tok_sen1rtc@224', *_S1RTC),
  _tokens('tok_dem@224', *_DEM),
  _tokens('tok_ndvi@224', *_NDVI),
  _tokens('tok_lulc@224', *_LULC, vocab_size=4_375),
  Modality('coords', 'text', 'degree', ('lat', 'lon'), 4, 30_000, 'lat'),
  _series('t2m_hourly', 'K', HOURLY_LEADS),
  _series('tp_hourly', 'mm', HOURLY_LEADS),
  _series('t2m_min_daily', 'K', DAILY_LEADS),
  _series('t2m_max_daily', 'K', DAILY_LEADS),
  _series('t2m_mean_daily', 'K', DAILY_LEADS),
  _series('tp_min_daily', 'mm', DAILY_LEADS),
  _series('tp_max_daily', 'mm', DAILY_LEADS),
  _series('tp_sum_daily', 'mm', DAILY_LEADS),
)
MODALITIES: dict[str, Modality] = {modality.name: modality for modality in _ALL}
# One modality for each field of an example that holds an image.
IMAGE_FIELDS: dict[str, Modality] = {
  m.field: m for m in _ALL if m.kind in ('image', 'tokens')
}

# Short names of raw inputs and of targets; exact keys work too.
_INPUTS = {
  'S2L2A': 'untok_sen2l2a@224',
  'S2L1C': 'untok_sen2l1c@224',
  'S2RGB': 'untok_sen2rgb@224',
  'S1GRD': 'untok_sen1grd@224',
  'S1RTC': 'untok_sen1rtc@224',
  'DEM': 'untok_dem@224',
  'LULC': 'tok_lulc@224',
  'NDVI': 'tok_ndvi@224',
  'coords': 'coords',
}
_TARGETS = {
  'S2L2A': 'tok_sen2l2a@224',
  'S1GRD': 'tok_sen1grd@224',
  'S1RTC': 'tok_sen1rtc@224',
  'DEM': 'tok_dem@224',
  'LULC': 'tok_lulc@224',
  'NDVI': 'tok_ndvi@224',
  'coords': 'coords',
}


def get(name: str, role: Literal['input', 'target'] = 'input') -> Modality:
  """Returns the modality with a key, or with a short name such as 'S2L2A'.

  Args:
    name: key of `MODALITIES`, or name of a sensor in upper or lower case.
    role: 'input' takes the name of a sensor for its raw pixels, 'target' for
      its tokens.

  Raises:
    ValueError: if there is no such modality; the message lists all of them.
  """
  if name in MODALITIES:
    return MODALITIES[name]
  short_names = _INPUTS if role == 'input' else _TARGETS
  keys = {key.lower(): value for key, value in short_names.items()}
  if name.lower() not in keys:
    raise ValueError(
      f'There is no {role} modality {name!r}; choose one of '
      f'{sorted(MODALITIES)} or, by sensor, {sorted(short_names)}.'
    )
  return MODALITIES[keys[name.lower()]]


def select(names: Iterable[str], image_size: int = 224) -> tuple[Modality, ...]:
  """Returns the modalities of a model, sorted by their keys.

  Args:
    names: keys of `MODALITIES`, or names of sensors for their raw pixels.
    image_size: pixels per side of the images, a multiple of the patch.

  Raises:
    ValueError: if there is no such modality, if one is named twice, or if the
      images do not divide into patches.
  """
  names = tuple(names)
  selected = sorted((get(name) for name in names), key=lambda m: m.name)
  if len({m.name for m in selected}) != len(selected):
    raise ValueError(
      f'A modality is named twice in {sorted(names)}; name each one once.'
    )
  return tuple(modality.at(image_size) for modality in selected)


assert len({m.id for m in _ALL}) == len(_ALL), 'Two modalities share an id.'
