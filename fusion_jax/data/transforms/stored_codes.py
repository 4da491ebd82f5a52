"""Ids of series that `prepare tokenize` stored beside the series."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from fusion_jax import modalities
from fusion_jax.data.transforms import steps
from fusion_jax.types import Example

_END = np.array([modalities.EOS], np.int32)


class SeriesTokenizer(Protocol):
  """What is needed of the tokenizer of a series, such as `SeriesCodes`."""

  @property
  def fingerprint(self) -> str:
    """Short text that differs between tokenizers."""
    ...

  def encode(self, values: np.ndarray) -> np.ndarray:
    """Returns the ids [S] int32 of a series [T] float; NaN where missing."""
    ...


@dataclasses.dataclass(frozen=True)
class StoredCodes(steps.Map):
  """Takes the stored ids of series, with [EOS] at the end.

  Reads `codes/<series>` or, if an example has none, encodes the series. Adds
  the ids to 'ids', {name of a series: [T + 1] int32}.

  Attributes:
    tokenizers: {name of a series: its tokenizer}.
  """

  tokenizers: Mapping[str, SeriesTokenizer]

  def map(self, example: Example) -> dict[str, Any]:
    """Returns the example with the ids of its series."""
    ids = dict(example.get('ids', {}))
    for name, tokenizer in self.tokenizers.items():
      stored = example.get(f'codes/{name}')
      if stored is None and name in example:
        stored = tokenizer.encode(example[name])
      if stored is not None:
        ids[name] = np.concatenate([stored.astype(np.int32), _END])
    return {**example, 'ids': ids}


def check(
  path: pathlib.Path, tokenizers: Mapping[str, SeriesTokenizer]
) -> None:
  """Raises an error if a data set has codes of other tokenizers.

  Args:
    path: folder of the data set.
    tokenizers: {name of a series: its tokenizer}.

  Raises:
    ValueError: if the codes of a series are missing, or if another tokenizer
      made them.
  """
  note = path / 'codes.json'
  fingerprints = (
    json.loads(note.read_text())['tokenizers'] if note.exists() else {}
  )
  for name, tokenizer in tokenizers.items():
    if fingerprints.get(name) != tokenizer.fingerprint:
      raise ValueError(
        f'The codes of {name} in {path} are of the tokenizer '
        f'{fingerprints.get(name, "(none)")}, not of {tokenizer.fingerprint}; '
        'run `python -m fusion_jax.prepare tokenize` again.'
      )
