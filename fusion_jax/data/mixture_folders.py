"""Writes the folder that describes a mixture, after checks that it is one."""

import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from absl import logging

from fusion_jax.data import merged_statistics, mixtures, normalize, records

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_-]*')
_TAKEN = ('loss', 'emd')  # Of the metrics `val/<name>`.
_CODES = 'codes.json'
_SHARED = ('coords_tokenizer.json', 'series_codes/*.msgpack')


def write(
  parts: Mapping[str, tuple[str | os.PathLike[str], float]],
  folder: pathlib.Path,
) -> None:
  """Writes the folder of a mixture, which is used like that of a data set.

  It holds which parts there are, their merged statistics and their tokenizers;
  the examples stay where they are.

  Args:
    parts: {name: (folder of a prepared data set, weight)}. A part of weight 0
      is left out.
    folder: folder that is written.

  Raises:
    FileNotFoundError: if a part is no finished data set.
    ValueError: if a weight gives no share; if parts have the same name or
      examples, other fields, statistics or tokenizers, or no examples.
  """
  mixtures.check_weights({name: weight for name, (_, weight) in parts.items()})
  _check_names(parts)
  used = {n: (pathlib.Path(p), w) for n, (p, w) in parts.items() if w}
  for name in sorted(set(parts) - set(used)):
    logging.warning('config.data.parts.%s has the weight 0: left out.', name)
  _check_examples({name: path for name, (path, _) in used.items()})
  statistics = merged_statistics.merge(
    {name: normalize.load_statistics(path) for name, (path, _) in used.items()},
    {name: float(weight) for name, (_, weight) in used.items()},
  )
  files = _shared_files({name: path for name, (path, _) in used.items()})
  files['statistics.json'] = json.dumps(statistics, allow_nan=False).encode()
  files[mixtures.FILE] = json.dumps(
    {n: [str(path.resolve()), w] for n, (path, w) in sorted(used.items())}
  ).encode()
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp-{os.getpid()}')
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _check_names(
  parts: Mapping[str, tuple[str | os.PathLike[str], float]],
) -> None:
  """Raises for names that are no names of metrics, and for equal folders."""
  seen: dict[str, str] = {}
  for name, (path, weight) in parts.items():
    if not _NAME.fullmatch(name) or name in _TAKEN:
      raise ValueError(
        f'config.data.parts has a part {name!r}; use letters, digits, - and _ '
        f'and none of {_TAKEN}.'
      )
    if not str(path):
      raise ValueError(
        f'config.data.parts.{name}.weight={weight} is of an absent data set: '
        f'set config.data.parts.{name}.dir to its folder, or remove the part.'
      )
    resolved = os.path.realpath(path)
    if resolved in seen:
      raise ValueError(
        f'config.data.parts.{name}.dir={path} is also the folder of '
        f'{seen[resolved]!r}; name each data set once, with its whole weight.'
      )
    seen[resolved] = name


def _check_examples(parts: Mapping[str, pathlib.Path]) -> None:
  """Raises unless all parts have training examples, of the same fields."""
  first, expected = '', {}
  contents: dict[str, str] = {}
  for name, path in parts.items():
    try:
      sizes, fields = records.describe(path)
    except FileNotFoundError as error:
      raise FileNotFoundError(f'config.data.parts.{name}: {error}') from error
    if not sizes.get('train'):
      raise ValueError(
        f'config.data.parts.{name}.dir={path} has no examples of the split '
        f"'train', but {sizes}; leave it out, or prepare it again."
      )
    first, expected = (first, expected) if first else (name, fields)
    for field in sorted({*expected, *fields}):
      if expected.get(field) != fields.get(field):
        raise ValueError(
          f'The field {field} of config.data.parts.{name} is '
          f'{fields.get(field, "missing")}, and of {first} '
          f'{expected.get(field, "missing")}; prepare both with equal fields.'
        )
    key = str(records.Examples(path, 'train')[0]['key'])
    mark = json.dumps([sizes, key, _statistics_of(path)])
    if mark in contents:
      raise ValueError(
        f'config.data.parts.{name}.dir={path} holds the same examples as '
        f'{contents[mark]!r}; name each data set once, with its whole weight.'
      )
    contents[mark] = name


def _statistics_of(path: pathlib.Path) -> dict[str, Any]:
  """Returns the statistics of a data set, without when they were made."""
  statistics = normalize.load_statistics(path)
  return {name: statistics.get(name) for name in ('images', 'series')}


def _shared_files(parts: Mapping[str, pathlib.Path]) -> dict[str, bytes]:
  """Returns {name: content} of tokenizers, which all parts have alike."""
  files: dict[str, tuple[str, bytes]] = {}
  first = next(iter(parts))
  for name, path in parts.items():
    for pattern in _SHARED:
      for file in sorted(path.glob(pattern)):
        key, content = str(file.relative_to(path)), file.read_bytes()
        owner, other = files.setdefault(key, (name, content))
        if content != other:
          raise ValueError(
            f'{key} of config.data.parts.{name} differs from that of {owner}; '
            'use one tokenizer for all data sets.'
          )
  for key, (owner, _) in files.items():
    if lacking := [n for n, path in parts.items() if not (path / key).exists()]:
      raise ValueError(
        f'config.data.parts.{lacking[0]} lacks {key}, which {owner} has; use '
        'one tokenizer for all data sets.'
      )
  notes = {
    name: json.loads((path / _CODES).read_text())
    for name, path in parts.items()
    if (path / _CODES).exists()
  }
  for name in parts:
    if notes.get(name) != notes.get(first):
      raise ValueError(
        f'The codes of config.data.parts.{name} are of other tokenizers than '
        f'those of {first}; run `python -m fusion_jax.prepare tokenize` on '
        'both with the same ones.'
      )
  if notes:
    files[_CODES] = (first, json.dumps(notes[first]).encode())
  return {key: content for key, (_, content) in files.items()}
