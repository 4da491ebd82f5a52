"""The table of modalities: what each one is, and how it becomes tokens.

Keys are TerraMind's where it has one: they hash to ids and their alphabetical
order decides which tokens are dropped when slots run out. Source of ids,
vocabularies and statistics: TerraMind v1 (terrastackai/terratorch, commit
85467a9, `terramind_register.py`); weather: this library, in the same scheme.
"""

import dataclasses
import hashlib
from typing import Literal

PATCH = 16  # Pixels per side of an image patch.
SERIES_BINS = 500  # Value bins of a uniform or quantile weather vocabulary.

# Ids shared by every sequence vocabulary (4M, `fourm/utils/tokenizer`).
PAD, UNK, SOS, EOS = 0, 1, 2, 3
FIRST_SENTINEL, NUM_SENTINELS = 4, 200  # [S_0]..[S_199] are ids 4..203.
NULL, ZERO = 204, 205  # Missing; precipitation below 0.01 mm. Series only.
VALUE_OFFSET = 206  # Id of the first value bin of a series.

S2L2A_BANDS = (
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
S2L1C_BANDS = S2L2A_BANDS[:10] + ('B10',) + S2L2A_BANDS[10:]

HOURLY_LEADS = tuple(range(-47, 13))  # Hours from the acquisition hour.
DAILY_LEADS = tuple(range(-29, 11))  # UTC days from the acquisition day.


@dataclasses.dataclass(frozen=True)
class Modality:
  """One kind of input or target.

  Attributes:
    name: key, unique; decides the id and the order.
    kind: 'image' raw pixels as linear patches (input only), 'tokens' a grid of
      image-tokenizer codes, 'text' a short word sequence, 'series' a weather
      sequence of binned values.
    unit: of the stored values.
    bands: names in storage order (images), or of the variable(s).
    max_tokens: positions of the full grid, or longest sequence with its [EOS].
    vocab_size: codes; 0 for raw pixels.
    field: where the values stand in an example on disk.
    mean: per band, subtracted before patches or tokenizer (TerraMind's own).
    std: per band, divided by.
    leads: offsets of a series from the acquisition, in hours or days.
    seen: whether a model's encoder has an embedding of it.
    predicted: whether its decoder has one; raw pixels never have.
    ordered: of a series, whether its values stand in bins in ascending order,
      with [ZERO] where it is dry; learned codes have neither.
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
  def id(self):
    """SHA-256 of the name, as one big integer, modulo 2^15."""
    return (
      int.from_bytes(hashlib.sha256(self.name.encode()).digest(), 'big') % 2**15
    )

  @property
  def is_sequence(self):
    return self.kind in ('text', 'series')

  @property
  def is_target(self):
    """Whether a decoder can predict it: raw pixels are input only."""
    return self.predicted and self.vocab_size > 0

  def at(self, image_size):
    """The same modality for square images of `image_size` pixels a side."""
    if self.is_sequence:
      return self
    if image_size % PATCH:
      raise ValueError(
        f'image_size={image_size} is not a multiple of the patch of {PATCH} '
        f'pixels; try {max(1, round(image_size / PATCH)) * PATCH}.'
      )
    return dataclasses.replace(self, max_tokens=(image_size // PATCH) ** 2)


def _image(name, field, unit, bands, mean, std):
  return Modality(name, 'image', unit, bands, 196, 0, field, mean, std)


def _tokens(name, field, unit, bands, mean, std, vocab_size=15_360):
  return Modality(
    name, 'tokens', unit, bands, 196, vocab_size, field, mean, std
  )


def _series(name, unit, leads):
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
MODALITIES = {modality.name: modality for modality in _ALL}
IMAGE_FIELDS = {
  m.field: m for m in _ALL if m.kind in ('image', 'tokens')
}  # One entry a sensor.

# Friendly names of raw inputs and of targets; exact keys work too.
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


def get(name, role='input'):
  """The modality called `name`, a key or a friendly name such as 'S2L2A'.

  Args:
    name: key of `MODALITIES`, or a sensor's name, any case.
    role: 'input' reads a sensor's name as raw pixels, 'target' as its tokens.

  Raises:
    ValueError: if there is none; the message lists what there is.
  """
  if name in MODALITIES:
    return MODALITIES[name]
  friendly = _INPUTS if role == 'input' else _TARGETS
  keys = {key.lower(): value for key, value in friendly.items()}
  if name.lower() not in keys:
    raise ValueError(
      f'There is no {role} modality {name!r}; choose one of '
      f'{sorted(MODALITIES)} or, by sensor, {sorted(friendly)}.'
    )
  return MODALITIES[keys[name.lower()]]


def select(names, image_size=224):
  """The modalities of a model, sorted by name, for images of `image_size`."""
  found = sorted((get(name) for name in names), key=lambda m: m.name)
  if len({m.name for m in found}) != len(found):
    raise ValueError(f'A modality is named twice in {sorted(names)}.')
  return tuple(modality.at(image_size) for modality in found)


assert len({m.id for m in _ALL}) == len(_ALL), 'Two modalities share an id.'
