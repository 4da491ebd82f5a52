"""Ids of series that `prepare tokenize` stored beside them."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import grain
import numpy as np

from fusion_jax import modalities

_END = np.array([modalities.EOS], np.int32)


@dataclasses.dataclass(frozen=True)
class StoredCodes(grain.transforms.Map):
  """Takes the stored ids of series, with [EOS] at the end.

  Reads `codes/<series>` or, where an example has none, the series itself. Adds
  them to `ids`, {modality: int32 [T + 1]}.
  """

  tokenizers: Mapping[str, Any]  # {series: `SeriesCodes`}.

  def map(self, example):
    ids = dict(example.get('ids', {}))
    for name, tokenizer in self.tokenizers.items():
      stored = example.get(f'codes/{name}')
      if stored is None and name in example:
        stored = tokenizer.encode(example[name])
      if stored is not None:
        ids[name] = np.concatenate([stored.astype(np.int32), _END])
    return {**example, 'ids': ids}


def check(path, tokenizers):
  """Raises ValueError if a data set has codes of others than `tokenizers`.

  Args:
    path: folder of the data set.
    tokenizers: {series: `SeriesCodes`}.
  """
  note = path / 'codes.json'
  made = json.loads(note.read_text())['tokenizers'] if note.exists() else {}
  for name, tokenizer in tokenizers.items():
    if made.get(name) != tokenizer.fingerprint:
      raise ValueError(
        f'The codes of {name} in {path} are of the tokenizer '
        f'{made.get(name, "(none)")}, not of {tokenizer.fingerprint}; run '
        '`python -m fusion_jax.prepare tokenize` again.'
      )
