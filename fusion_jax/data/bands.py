"""Names of Sentinel-2's bands in files, and substitutes for missing bands."""

import re
from collections.abc import Collection, Iterable, Sequence

from fusion_jax.data import composites

BANDS = composites.BANDS  # Bands of an encoder, in the order of its input.
SCENE_CLASS = 'SCL'  # Name of the scene classification.
# Other bands of Sentinel-2, which no encoder in this library reads.
_OTHERS = ('B1', 'B9', 'B10')
_NAME = re.compile(
  r'(?:^|[^A-Z0-9])(B8A|B0?[1-9]|B1[0-2]|SCL)(?![A-Z0-9])', re.IGNORECASE
)
_EXACT = re.compile(r'B(0?[1-9]|8A|1[0-2])|SCL', re.IGNORECASE)
_NUMBERED = re.compile(r'band[ _]?\d+', re.IGNORECASE)
# Common names in STAC's extension "eo", and names in Earth Search.
_COMMON = {
  'blue': 'B2',
  'green': 'B3',
  'red': 'B4',
  'rededge1': 'B5',
  'rededge2': 'B6',
  'rededge3': 'B7',
  'rededge071': 'B5',
  'rededge075': 'B6',
  'rededge078': 'B7',
  'nir': 'B8',
  'nir08': 'B8A',
  'swir16': 'B11',
  'swir22': 'B12',
  'scl': 'SCL',
  'coastal': 'B1',
  'nir09': 'B9',
  'cirrus': 'B10',
}
# Bands of Landsat 8 and 9, and of Landsat 4 to 7, by the number in their name:
# the band of Sentinel-2 that has the same common name.
_SENSORS = {
  'Landsat 8-9': (
    re.compile(
      r'(?<![A-Z0-9])(L[COT]0?[89](?![A-Z])|LANDSAT[ _-]*[89]\b|OLI(?![A-Z])'
      r'|HLS[ ._-]?L30(?![A-Z0-9]))',
      re.IGNORECASE,
    ),
    {
      'B1': 'B1',
      'B2': 'B2',
      'B3': 'B3',
      'B4': 'B4',
      'B5': 'B8A',
      'B6': 'B11',
      'B7': 'B12',
      'B9': 'B10',
    },
  ),
  'Landsat 4-7': (
    re.compile(
      r'(?<![A-Z0-9])(L[EMT]0?[4-7](?![A-Z])|LANDSAT[ _-]*[4-7]\b)',
      re.IGNORECASE,
    ),
    {
      'B1': 'B2',
      'B2': 'B3',
      'B3': 'B4',
      'B4': 'B8',
      'B5': 'B11',
      'B7': 'B12',
    },
  ),
  # Surface reflectance of a Landsat, or of MODIS, that is not named.
  'another sensor': (
    re.compile(
      r'(?<![A-Z0-9])(SR_B\d|ST_B\d|LANDSAT|MODIS|VIIRS|SUR_REFL_B\d|'
      r'M[OY]D0?9[AG]|VNP0?9)',
      re.IGNORECASE,
    ),
    {},
  ),
}
# Names of products of Sentinel-2, whatever else they or their folders tell.
_SENTINEL = re.compile(
  r'(?<![A-Z0-9])(S2[A-D]_|HLS[ ._-]?S30(?![A-Z0-9]))', re.IGNORECASE
)
SENTINEL = ''  # Name of the sensor where nothing names another one.
# These two bands see the same plateau of the near infrared, at 833 and 865 nm,
# and an encoder treats their values alike; no other two bands are as similar.
_ALIKE = {'B8A': 'B8', 'B8': 'B8A'}
ZERO = '0'  # Substitute for a band that is replaced by zeros.


def sensor(texts: Iterable[object]) -> str:
  """Returns the sensor that texts name, such as 'Landsat 8-9'.

  Args:
    texts: names of products, platforms and bands, as files hold them.

  Returns:
    The first that is named; '' for Sentinel-2, of which a name of a product
    counts most, and where none is.
  """
  spellings = [str(text) for text in texts]
  if any(map(_SENTINEL.search, spellings)):
    return SENTINEL
  for name, (pattern, _) in _SENSORS.items():
    if any(map(pattern.search, spellings)):
      return name
  return SENTINEL


def find(text: object, sensor: str = SENTINEL) -> str:
  """Returns the band that a text names, such as 'B2', 'B8A' or 'SCL'; or ''.

  Args:
    text: name of a band as files spell it, such as 'B02', 'S2-L2A-B02',
      'B2 (blue)' or 'nir08'; bytes are decoded, anything else is turned into a
      string.
    sensor: sensor whose band it is, as the function `sensor` names it. Numbers
      of another sensor's bands become the bands of Sentinel-2 with the same
      common name.
  """
  if isinstance(text, bytes):
    text = text.decode('utf-8', 'replace')
  spelling = str(text).strip()
  if match := _NAME.search(spelling):
    name = match.group(1).upper().replace('B0', 'B')
    return _SENSORS[sensor][1].get(name, '') if sensor else name
  return _COMMON.get(spelling.lower(), '')


def is_exact(text: object) -> bool:
  """Returns whether a text is a band's name, or begins with it as a word."""
  words = re.split(r'[\s,(]', str(text).strip())
  return bool(_EXACT.fullmatch(words[0]))


def no_names(texts: Sequence[str | None]) -> bool:
  """Returns whether no text of a file's bands is a name.

  Numbers ('Band 1') and one text for several bands are none.
  """
  texts = [(text or '').strip() for text in texts]
  return all(
    not text or _NUMBERED.fullmatch(text) or texts.count(text) == len(texts) > 1
    for text in texts
  )


def order(
  names: Sequence[str],
  expected: Sequence[str],
  title: str,
  sensor: str = SENTINEL,
) -> list[int]:
  """Returns the index of every expected band among named ones.

  Args:
    names: names of the bands of a file or array, as it spells them.
    expected: names of the bands to find, such as 'B02' or 'vv'.
    title: name of the file or array, for messages.
    sensor: sensor whose bands these are, as the function `sensor` names it.

  Raises:
    ValueError: if a band is missing, or two have its name; shows all names.
  """
  chosen, missing = [], []
  for band in expected:
    found = [i for i, text in enumerate(names) if _is_of(text, band, sensor)]
    found = [i for i in found if is_exact(names[i])] or found
    if len(found) > 1:
      raise ValueError(
        f'{title} has several bands of the names {[band]}: '
        f'{[names[i] for i in found]}; keep one of each.'
      )
    chosen += found
    missing += [] if found else [band]
  if missing:
    raise ValueError(
      f'{title} lacks the bands {", ".join(missing)}; it has '
      f'{", ".join(names)}{f" of {sensor}" if sensor else ""}. Expected are '
      f'{", ".join(expected)}, in any order and spelling.'
    )
  return chosen


def _is_of(text: str, band: str, sensor: str) -> bool:
  """Returns whether a text names a band, such as 'B4', 'VV' or 'Gamma0_VV'."""
  if known(short(band)):
    return find(text, sensor) == short(band)
  pattern = rf'(?<![a-z0-9]){re.escape(band)}(?![a-z0-9])'
  return bool(re.search(pattern, text, re.IGNORECASE))


def short(name: str) -> str:
  """Returns 'B2' for 'B02', the name of a band in `modalities`."""
  return name.replace('B0', 'B')


def stand_ins(missing: Iterable[str]) -> dict[str, str]:
  """Returns the substitutes for bands that a cube lacks.

  Args:
    missing: names of bands, or 'BAND=OTHER' and 'BAND=0', which name the
      substitute. By default B8 replaces B8A and B8A replaces B8; any other band
      is replaced by 0, like a band that was left out in training.

  Returns:
    {band: the band that replaces it, or '0'}.

  Raises:
    ValueError: if a name is not one of the bands.
  """
  substitutes = {}
  for text in missing:
    left, _, right = text.partition('=')
    band = find(left)
    other = (
      ZERO
      if right.strip() == ZERO
      else find(right)
      if right
      else _ALIKE.get(band, ZERO)
    )
    for name, spelling in (band, left), (other, right):
      if name not in (*BANDS, ZERO):
        raise ValueError(
          f'--missing-bands {text}: {spelling!r} is none of the bands '
          f'{", ".join(BANDS)}.'
        )
    substitutes[band] = other
  return substitutes


def sources(
  available: Collection[str],
  missing: Iterable[str] = (),
  unread: Iterable[str] = (),
  name: str = 'The cube',
) -> dict[str, str]:
  """Returns the band of a cube from which every band of a model is read.

  Args:
    available: bands of the cube, in any order.
    missing: bands that the cube lacks, as `stand_ins` takes them. A band that
      is named here is replaced even if the cube has it.
    unread: bands that the model was trained without.
    name: name of the cube in error messages.

  Returns:
    {band: the band of the cube, or '0'}, in the order of `BANDS`.

  Raises:
    ValueError: if the cube lacks a band that `missing` does not name, or the
      substitute for one.
  """
  replaced = dict.fromkeys(unread, ZERO) | stand_ins(missing)
  absent = [
    band for band in BANDS if band not in available and band not in replaced
  ]
  if absent:
    raise ValueError(
      f'{name} lacks the bands {", ".join(absent)}; it has '
      f'{", ".join(available) or "none with the name of a band"}. If there is '
      f'no file with them, name them: --missing-bands {" ".join(absent)}.'
    )
  source_of = {band: replaced.get(band, band) for band in BANDS}
  for band, other in source_of.items():
    if other != ZERO and other not in available:
      raise ValueError(
        f'{name} lacks {other}, too, which should replace {band}; choose '
        f'another substitute: --missing-bands {band}=0.'
      )
  return source_of


def known(name: str) -> bool:
  """Returns whether a name is that of a Sentinel-2 band, read here or not."""
  return name in (*BANDS, *_OTHERS, SCENE_CLASS)
