"""The learned codes of one weather series: use, file and fingerprint."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from fusion_jax import modalities
from fusion_jax.models import series_tokenizer
from fusion_jax.types import Array, Params

# Subfolder of a data set, and of a run that reads the codes of a data set.
FOLDER = 'series_codes'
_FIRST = modalities.VALUE_OFFSET  # Id of the first code.


class SeriesCodes:
  """A series in K or mm <-> ids, used as an `ops.quantize.Quantizer` is.

  Unlike there, a series is encoded and decoded as a whole, and neighbouring ids
  do not stand for neighbouring values. Id 204 [NULL] means that no value is
  known; codes have the ids from 206. `encode` never returns [ZERO], because a
  dry hour has a code; `decode` reads [ZERO] of precipitation as 0 mm.

  Attributes:
    name: name of the series.
    vocab_size: number of ids, special ones included.
    stride: number of time steps that share an id.
    fingerprint: short text that identifies the tokenizer and its parameters.
  """

  name: str
  vocab_size: int
  stride: int
  fingerprint: str

  def __init__(
    self,
    name: str,
    model: series_tokenizer.SeriesTokenizer,
    params: Params,
    mean: float,
    std: float,
  ) -> None:
    """Prepares a trained tokenizer for one of its series.

    Args:
      name: name of the series.
      model: the tokenizer.
      params: parameters of the tokenizer.
      mean: mean of the series in the tokenizer's training data, K or mm.
      std: standard deviation of the series in these data, K or mm.
    """
    self.name = name
    self.stride = model.stride
    self.vocab_size = _FIRST + model.fsq.num_codes
    self._model = model
    self._params = jax.tree.map(np.asarray, params)
    self._standard = float(mean), float(std)
    self._steps = len(modalities.MODALITIES[name].leads)
    self.fingerprint = self._fingerprint()

  def encode(self, values: Array) -> np.ndarray:
    """Returns the ids of series.

    Args:
      values: [..., T] float, K or mm; NaN where a value is missing.

    Returns:
      [..., S] int32, S = T / stride.

    Raises:
      ValueError: for another number of time steps.
    """
    values, steps = np.asarray(values, np.float32), self._steps
    if values.shape[-1:] != (steps,):
      raise ValueError(
        f'A series of {self.name} has {steps} time steps; the values have the '
        f'shape {values.shape}.'
      )
    shape = *values.shape[:-1], steps // self.stride
    if not values.size:
      return np.zeros(shape, np.int32)
    rows = values.reshape(-1, steps)
    present = np.isfinite(rows)
    mean, std = (np.float32(x) for x in self._standard)
    indices = _encode(
      self._model,
      self._params,
      np.where(present, (rows - mean) / std, 0),
      present,
    )
    ids = np.where(
      self._model.known(present), np.asarray(indices) + _FIRST, modalities.NULL
    )
    return ids.astype(np.int32).reshape(shape)

  def decode(self, ids: Array) -> np.ndarray:
    """Returns the series of ids.

    Args:
      ids: [..., S] int.

    Returns:
      [..., T] float32, K or mm; NaN where an id is special.

    Raises:
      ValueError: for another number of ids, or ids outside the vocabulary.
    """
    ids = self._checked(ids)
    shape = *ids.shape[:-1], self._steps
    if not ids.size:
      return np.zeros(shape, np.float32)
    rows = ids.reshape(-1, ids.shape[-1])
    known = rows >= _FIRST
    values = np.asarray(
      _decode(
        self._model,
        self._params,
        np.where(known, rows - _FIRST, 0),
        known,
        self._steps,
      )
    )
    dry = (modalities.MODALITIES[self.name].unit == 'mm') & (
      rows == modalities.ZERO
    )
    known, dry = (np.repeat(x, self.stride, axis=1) for x in (known, dry))
    mean, std = self._standard
    values = np.where(known, values * std + mean, np.where(dry, 0, np.nan))
    return values.astype(np.float32).reshape(shape)

  def save(self, folder: str | os.PathLike[str]) -> None:
    """Writes the codes to a data set or a run.

    The file appears under its name only when it is complete.

    Args:
      folder: folder of the data set or the run.
    """
    path = _path(folder, self.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.tmp-{os.getpid()}')
    temporary.write_bytes(
      serialization.msgpack_serialize(
        {
          'settings': json.dumps(self._settings()),
          'params': self._params,
          'standard': list(self._standard),
        }
      )
    )
    os.replace(temporary, path)

  def _settings(self) -> dict[str, Any]:
    settings = {
      field.name: getattr(self._model, field.name)
      for field in dataclasses.fields(self._model)
      if field.name not in ('name', 'parent')
    }
    return settings | {'dtype': jnp.dtype(self._model.dtype).name}

  def _fingerprint(self) -> str:
    digest = hashlib.sha256(
      json.dumps(
        [self.name, self._settings(), self._standard], sort_keys=True
      ).encode()
    )
    for leaf in jax.tree.leaves(self._params):
      digest.update(leaf.tobytes())
    return digest.hexdigest()[:16]

  def _checked(self, ids: Array) -> np.ndarray:
    ids, count = np.asarray(ids), self._steps // self.stride
    if ids.dtype.kind not in 'iu':
      raise ValueError(f'The ids of {self.name} are {ids.dtype}, not integers.')
    if ids.shape[-1:] != (count,):
      raise ValueError(
        f'A series of {self.name} has {count} ids; these have the shape '
        f'{ids.shape}.'
      )
    if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
      raise ValueError(
        f'Ids run from {ids.min()} to {ids.max()}; the vocabulary of '
        f'{self.name} has the ids 0 to {self.vocab_size - 1}.'
      )
    return ids


def load(folder: str | os.PathLike[str], name: str) -> SeriesCodes:
  """Returns the codes of a series that a data set or a run has.

  Args:
    folder: folder of the data set or the run.
    name: name of the series.

  Raises:
    FileNotFoundError: if it has no codes of this series.
  """
  path = _path(folder, name)
  if not path.exists():
    raise FileNotFoundError(
      f'{folder} has no learned codes of {name}: {path} is missing. '
      '`python -m fusion_jax.prepare tokenize` with a tokenizer of '
      'configs/series_tokenizer.py stores them.'
    )
  stored: Any = serialization.msgpack_restore(path.read_bytes())
  settings = json.loads(stored['settings'])
  for field in ('levels', 'dilations'):
    settings[field] = tuple(settings[field])
  settings['dtype'] = jnp.dtype(settings['dtype'])
  model = series_tokenizer.SeriesTokenizer(**settings)
  return SeriesCodes(name, model, stored['params'], *stored['standard'])


def keep(codes: SeriesCodes, folder: str | os.PathLike[str]) -> None:
  """Saves codes in the folder of a run, or checks those that it has.

  Args:
    codes: codes that the run reads.
    folder: folder of the run.

  Raises:
    ValueError: if the run was started with the codes of another tokenizer.
  """
  if _path(folder, codes.name).exists():
    stored = load(folder, codes.name).fingerprint
    if stored != codes.fingerprint:
      raise ValueError(
        f'The run in {folder} began with codes of {codes.name} by the '
        f'tokenizer {stored}, not by {codes.fingerprint}. Name the data that '
        'it began with, or another --workdir.'
      )
  else:
    codes.save(folder)


def _path(folder: str | os.PathLike[str], name: str) -> pathlib.Path:
  return pathlib.Path(folder) / FOLDER / f'{name}.msgpack'


@functools.partial(jax.jit, static_argnums=0)
def _encode(
  model: series_tokenizer.SeriesTokenizer,
  params: Params,
  values: Array,
  present: Array,
) -> Array:
  """Indices [B, S] int32 of standardised values [B, T]."""
  latents: Any = model.apply(
    {'params': params}, values, present, jnp.ones_like(present), method='encode'
  )
  return model.fsq.to_indices(model.fsq.quantize(latents))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _decode(
  model: series_tokenizer.SeriesTokenizer,
  params: Params,
  indices: Array,
  known: Array,
  steps: int,
) -> Any:
  """Standardised values [B, T] of indices [B, S]."""
  inside = jnp.ones((len(known), steps), bool)
  return model.apply(
    {'params': params},
    model.fsq.from_indices(indices),
    known,
    inside,
    method='decode',
  )
