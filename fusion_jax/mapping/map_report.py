"""Writes what a map shows, from what, and how far to trust it."""

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from fusion_jax.evals import report, tables
from fusion_jax.mapping import cog

# Tags of the map that the report repeats, and what it calls them.
TAGS = {
  'trained_on': 'the model was',
  'validation': 'validation',
  'confidence': 'confidence',
  'months': 'months',
  'input_range': 'input',
}


def write(
  path: str | os.PathLike[str],
  picture: pathlib.Path,
  *,
  tags: Mapping[str, str],
  duration_s: float,
) -> pathlib.Path:
  """Writes the report of a map beside it, as Markdown.

  Args:
    path: the map, see `cog.write`.
    picture: its picture, in the same folder.
    tags: texts of the map, see `TAGS`.
    duration_s: seconds that the map took.

  Returns:
    Path of the report: that of the map with '.md'.
  """
  path = pathlib.Path(path)
  classes, _, names = cog.read_small(path)
  lines = [
    f'# {path.name}',
    f'![Classes of {path.name}]({picture.name})',
    tables.markdown(('what', 'value'), [*_facts(tags)]),
    '## Classes',
    _shares(classes, names),
    '## How it was made',
    tables.markdown(('what', 'value'), report.facts(duration_s)),
  ]
  written = path.with_suffix('.md')
  written.write_text('\n\n'.join(lines) + '\n')
  return written


def _facts(tags: Mapping[str, str]) -> Sequence[tuple[str, str]]:
  """Returns rows (what, value) of the tags that a map has."""
  return [(what, tags[name]) for name, what in TAGS.items() if name in tags]


def _shares(classes: np.ndarray, names: Sequence[str]) -> str:
  """Returns a table of the share of each class, the largest first."""
  counts = np.bincount(classes.ravel(), minlength=cog.NODATA + 1)
  known = max(int(counts[: len(names)].sum()), 1)
  rows = [
    (str(names[i]), f'{100 * counts[i] / known:.1f} %')
    for i in np.argsort(-counts[: len(names)], kind='stable')
    if counts[i]
  ]
  rows.append(('(no data)', f'{100 * counts[cog.NODATA] / classes.size:.1f} %'))
  return tables.markdown(('class', 'share of the pixels with data'), rows)
