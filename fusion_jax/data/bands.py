"""Names of Sentinel-2's bands in files, and stand-ins for missing bands."""

import re
from collections.abc import Sequence

from fusion_jax.data import composites

BANDS = composites.BANDS
SCENE_CLASS = 'SCL'
# Other bands of Sentinel-2, which no encoder here reads.
_OTHERS = ('B1', 'B9', 'B10')
_NAME = re.compile(
  r'(?:^|[^A-Z0-9])(B8A|B0?[1-9]|B1[0-2]|SCL)(?![A-Z0-9])', re.IGNORECASE
)
# Common names of STAC's extension "eo", and those of Earth Search.
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
}
# The two see the same plateau of the near infrared, 833 and 865 nm, and an
# encoder knows their values alike; nothing else comes as near.
_ALIKE = {'B8A': 'B8', 'B8': 'B8A'}
ZERO = '0'


def find(text: str) -> str:
  """Returns the band that a name stands for, such as 'B8A' or 'SCL', or ''.

  Args:
    text: 'B02', 'S2-L2A-B02', 'B2 (blue)', 'nir08' and the like.
  """
  text = str(text).strip()
  if found := _NAME.search(text):
    name = found.group(1).upper()
    return name.replace('B0', 'B')
  return _COMMON.get(text.lower(), '')


def stand_ins(missing: Sequence[str]) -> dict[str, str]:
  """Returns what stands in for bands that a cube lacks.

  Args:
    missing: names of bands, or 'BAND=OTHER' and 'BAND=0', which say what
      stands in. By default B8 stands in for B8A and B8A for B8; any other
      band is 0, as one that training left out (augmentation of bands).

  Returns:
    {band: other band, or '0'}.

  Raises:
    ValueError: for a name that is no band.
  """
  found = {}
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
    for name, given in (band, left), (other, right):
      if name not in (*BANDS, ZERO):
        raise ValueError(
          f'--missing-bands {text}: {given!r} is none of the '
          f'bands {", ".join(BANDS)}.'
        )
    found[band] = other
  return found


def sources(
  available: Sequence[str],
  missing: Sequence[str] = (),
  unread: Sequence[str] = (),
  name: str = 'The cube',
) -> dict[str, str]:
  """Returns from which band of a cube every band of a model comes.

  Args:
    available: bands of the cube, in any order.
    missing: see `stand_ins`. What a cube lacks must be among them; of what it
      has, they are ignored in favour of the stand-in.
    unread: bands that the model was trained without.
    name: name of the cube, for the message.

  Returns:
    {band: band of the cube, or '0'} in the order of `BANDS`.

  Raises:
    ValueError: if a band is missing and not named so, or what stands in for
      it is missing, too.
  """
  replaced = dict.fromkeys(unread, ZERO) | stand_ins(missing)
  lacking = [
    band for band in BANDS if band not in available and band not in replaced
  ]
  if lacking:
    raise ValueError(
      f'{name} lacks the bands {", ".join(lacking)}; it has '
      f'{", ".join(available) or "none with the name of a band"}. If they '
      f'are not to be had, say so: --missing-bands {" ".join(lacking)}.'
    )
  found = {band: replaced.get(band, band) for band in BANDS}
  for band, other in found.items():
    if other != ZERO and other not in available:
      raise ValueError(
        f'{name} lacks {other}, too, which was to stand in for '
        f'{band}; take another: --missing-bands {band}=0.'
      )
  return found


def known(name: str) -> bool:
  """Returns whether a name is one of Sentinel-2's, read or not."""
  return name in (*BANDS, *_OTHERS, SCENE_CLASS)
