"""The learned codes of one weather series, as a file and in use."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from fusion_jax import modalities
from fusion_jax.models import series_tokenizer

FOLDER = 'series_codes'  # Of a data set, or of a run that reads its codes.
_FIRST = modalities.VALUE_OFFSET


class SeriesCodes:
  """A series in K or mm <-> ids, as `ops.quantize.Quantizer`.

  Differs from it: a series is encoded and decoded whole, and neighbouring ids
  are no neighbouring values. 204 [NULL] is where nothing is known; from 206
  stand the codes. `encode` makes no [ZERO]: a dry hour has a code. Of
  precipitation `decode` takes it for 0.

  Attributes:
    name: of the series.
    vocab_size: ids, specials included.
    stride: steps that share an id.
    fingerprint: short text; another tokenizer, another text.
  """

  def __init__(self, name, model, params, mean, std):
    """Takes a trained tokenizer apart for one of its series.

    Args:
      name: of the series.
      model: `models.series_tokenizer.SeriesTokenizer`.
      params: of the model.
      mean: of the series in the tokenizer's training data, K or mm.
      std: deviation, likewise.
    """
    self.name = name
    self.stride = model.stride
    self.vocab_size = _FIRST + model.fsq.num_codes
    self._model = model
    self._params = jax.tree.map(np.asarray, params)
    self._standard = float(mean), float(std)
    self._steps = len(modalities.MODALITIES[name].leads)
    self.fingerprint = self._fingerprint()

  def encode(self, values):
    """Ids [..., S] int32 of a series [..., T], NaN = missing.

    Raises:
      ValueError: for another number of steps.
    """
    values, steps = np.asarray(values, np.float32), self._steps
    if values.shape[-1:] != (steps,):
      raise ValueError(
        f'{self.name} has {steps} steps, not the shape {values.shape}.'
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

  def decode(self, ids):
    """Series [..., T] float32 in K or mm of ids [..., S]; NaN for specials.

    Raises:
      ValueError: for another number of ids, or what is no id of the vocabulary.
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

  def save(self, folder):
    """Writes it to a folder of codes, never seen half-written."""
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

  def _settings(self):
    settings = {
      field.name: getattr(self._model, field.name)
      for field in dataclasses.fields(self._model)
      if field.name not in ('name', 'parent')
    }
    return settings | {'dtype': jnp.dtype(self._model.dtype).name}

  def _fingerprint(self):
    digest = hashlib.sha256(
      json.dumps(
        [self.name, self._settings(), self._standard], sort_keys=True
      ).encode()
    )
    for leaf in jax.tree.leaves(self._params):
      digest.update(leaf.tobytes())
    return digest.hexdigest()[:16]

  def _checked(self, ids):
    ids, count = np.asarray(ids), self._steps // self.stride
    if ids.dtype.kind not in 'iu':
      raise ValueError(f'The ids of {self.name} are {ids.dtype}, not integers.')
    if ids.shape[-1:] != (count,):
      raise ValueError(
        f'{self.name} has {count} ids, not the shape {ids.shape}.'
      )
    if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
      raise ValueError(
        f'Ids run from {ids.min()} to {ids.max()}; the vocabulary of '
        f'{self.name} has 0..{self.vocab_size - 1}.'
      )
    return ids


def load(folder, name):
  """The `SeriesCodes` of a series that a data set or run was given.

  Raises:
    FileNotFoundError: if it has none of this series.
  """
  path = _path(folder, name)
  if not path.exists():
    raise FileNotFoundError(
      f'{folder} has no learned codes of {name}: {path} is missing. '
      '`python -m fusion_jax.prepare tokenize` with a tokenizer of '
      'configs/series_tokenizer.py stores them.'
    )
  found = serialization.msgpack_restore(path.read_bytes())
  settings = json.loads(found['settings'])
  for field in ('levels', 'dilations'):
    settings[field] = tuple(settings[field])
  settings['dtype'] = jnp.dtype(settings['dtype'])
  model = series_tokenizer.SeriesTokenizer(**settings)
  return SeriesCodes(name, model, found['params'], *found['standard'])


def keep(codes, folder):
  """Saves codes in a run's folder, unless the run began with others.

  Raises:
    ValueError: if it did.
  """
  if _path(folder, codes.name).exists():
    begun = load(folder, codes.name).fingerprint
    if begun != codes.fingerprint:
      raise ValueError(
        f'The run in {folder} began with codes of {codes.name} by the '
        f'tokenizer {begun}, not by {codes.fingerprint}. Name the data that '
        'it began with, or another --workdir.'
      )
  else:
    codes.save(folder)


def _path(folder, name):
  return pathlib.Path(folder) / FOLDER / f'{name}.msgpack'


@functools.partial(jax.jit, static_argnums=0)
def _encode(model, params, values, present):
  latents = model.apply(
    {'params': params}, values, present, jnp.ones_like(present), method='encode'
  )
  return model.fsq.to_indices(model.fsq.quantize(latents))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _decode(model, params, indices, known, steps):
  inside = jnp.ones((len(known), steps), bool)
  return model.apply(
    {'params': params},
    model.fsq.from_indices(indices),
    known,
    inside,
    method='decode',
  )
