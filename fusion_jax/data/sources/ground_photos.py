"""Ground photos of LUCAS: one in each direction at every surveyed point.

They lie as on Eurostat's server, `{NUTS 0}/{id[:3]}/{id[3:6]}/{id}W.jpg`, or
flat, `NL_40683280W.jpg`; N, E and S are the other directions.
"""

import os
import pathlib
import re

from absl import logging

from fusion_jax.data import labels
from fusion_jax.data.sources import lucas

_KEY = re.compile('([A-Z]{2})_([1-9][0-9]{7})([NESW])')
_ENDINGS = ('.jpg', '.jpeg', '.png')  # In capitals, too.
_YEAR = re.compile(r'(19|20)\d\d')


def key(nuts0: str, point: int, direction: str) -> str:
  """Returns the name of a photo among CLIP vectors: 'NL_40683280W'.

  Args:
    nuts0: code of the country, of NUTS 0 or of ISO 3166.
    point: identifier of the point.
    direction: 'N', 'E', 'S' or 'W'.
  """
  return f'{labels.nuts0(nuts0)}_{point}{direction}'


def view_of(name: str) -> tuple[int, str] | None:
  """Returns point and direction in the name of a photo; None for another name.

  The country is not needed: no two points have one identifier.
  """
  match = _KEY.fullmatch(name)
  return (int(match[2]), match[3]) if match else None


def find(root: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
  """Returns {key: path} of all directional photos under a folder.

  Photos in a folder of another year than that of the survey, such as
  2015/NL/406/832, and other pictures are counted in a warning.

  Raises:
    ValueError: if there is none, or two of one point and direction.
  """
  photos: dict[str, pathlib.Path] = {}
  unmatched, other_years = [], []
  for path in sorted(pathlib.Path(root).rglob('*')):
    if path.suffix.lower() not in _ENDINGS:
      continue
    name = _key_of(path)
    if not name:
      unmatched.append(path)
    elif not _of_the_survey(path.relative_to(root)):
      other_years.append(path)
    elif name in photos:
      raise ValueError(
        f'{photos[name]} and {path} are both the photo {name}; move one away.'
      )
    else:
      photos[name] = path
  if not photos:
    found = (unmatched + other_years)[:1]
    raise ValueError(
      f'{root} has no photos of {lucas.YEAR}; expected files such as '
      'NL/406/832/40683280W.jpg or NL_40683280W.jpg'
      f'{f", not {found[0]}" if found else ""}.'
    )
  _warn(root, unmatched, 'are no photos with country, point and direction')
  _warn(root, other_years, f'are of other years than {lucas.YEAR}')
  return dict(sorted(photos.items()))


def _warn(root, paths, what):
  """Logs how many pictures are not read, and why."""
  if paths:
    logging.warning(
      '%d pictures under %s %s, such as %s.', len(paths), root, what, paths[0]
    )


def _of_the_survey(path: pathlib.Path) -> bool:
  """Returns whether no folder of a path names another year."""
  years = [part for part in path.parts[:-1] if _YEAR.fullmatch(part)]
  return all(int(year) == lucas.YEAR for year in years)


def _key_of(path: pathlib.Path) -> str:
  """Returns the name of the photo of a path; '' if it is no photo."""
  stem = path.stem
  if '_' not in stem:  # A path as on the server.
    country, first, second = ['', '', '', *path.parts[:-1]][-3:]
    stem = f'{country}_{stem}' if stem.startswith(first + second) else ''
  match = _KEY.fullmatch(stem)
  return key(match[1], int(match[2]), match[3]) if match else ''
