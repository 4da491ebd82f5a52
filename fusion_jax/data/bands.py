"""Names of Sentinel-2's bands in files, and substitutes for missing bands."""

import re
from collections.abc import Collection, Iterable

from fusion_jax.data import composites

BANDS = composites.BANDS  # Bands of an encoder, in the order of its input.
SCENE_CLASS = 'SCL'  # Name of the scene classification.
# Other bands of Sentinel-2, which no encoder in this library reads.
_OTHERS = ('B1', 'B9', 'B10')
_NAME = re.compile(
  r'(?:^|[^A-Z0-9])(B8A|B0?[1-9]|B1[0-2]|SCL)(?![A-Z0-9])', re.IGNORECASE
)
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
# These two bands see the same plateau of the near infrared, at 833 and 865 nm,
# and an encoder treats their values alike; no other two bands are as similar.
_ALIKE = {'B8A': 'B8', 'B8': 'B8A'}
ZERO = '0'  # Substitute for a band that is replaced by zeros.


def find(text: object) -> str:
  """Returns the band that a text names, such as 'B2', 'B8A' or 'SCL'; or ''.

  Args:
    text: name of a band as files spell it, such as 'B02', 'S2-L2A-B02',
      'B2 (blue)' or 'nir08'; anything else is turned into a string.
  """
  spelling = str(text).strip()
  if match := _NAME.search(spelling):
    name = match.group(1).upper()
    return name.replace('B0', 'B')
  return _COMMON.get(spelling.lower(), '')


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
