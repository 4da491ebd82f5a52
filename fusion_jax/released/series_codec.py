"""A trained series tokenizer, ready to use: `fusion_jax.load(workdir)`."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.data import series as series_lib

_FIRST = modalities.VALUE_OFFSET


class SeriesCodec:
  """Series in K or mm <-> ids of the weather vocabulary.

  Ids are those of `ops.quantize`: 204 [NULL] where nothing is known, from 206
  the codes. `encode` makes no [ZERO]: a dry hour has a code. Of precipitation
  `decode` takes it for 0.

  Attributes:
    config: of the run.
    params: of the model.
    names: of the series that it knows.
    statistics: of its training data.
    vocab_size: ids, specials included.
    stride: steps of a series that share an id.
  """

  def __init__(self, config, params, task):
    """Args: as the attributes; task: `SeriesTokenizer` of the configuration."""
    self.config = config
    self.params = jax.device_put(params)
    self.names = task.names
    self.statistics = task.statistics
    self.stride = task.model.stride
    self._fsq = task.model.fsq
    self.vocab_size = _FIRST + self._fsq.num_codes
    self._standards = dict(zip(task.names, zip(*task.standards)))
    self._steps = dict(zip(task.names, task.steps))
    self._encode = jax.jit(lambda params, *args: task.model.fsq.to_indices(
        task.model.fsq.quantize(task.model.apply(
            {'params': params}, *args, method='encode'))))
    self._decode = jax.jit(lambda params, indices, known, inside: (
        task.model.apply({'params': params}, self._fsq.from_indices(indices),
                         known, inside, method='decode')))
    self._known = task.model.known

  def encode(self, values, name=''):
    """Ids [..., S] int32 of a series [..., T], NaN = missing.

    Args:
      values: in K or mm, of the series' own number of steps.
      name: of the series; may be left out if the tokenizer knows only one.

    Raises:
      ValueError: for another series, or another number of steps.
    """
    name = self._name(name)
    values, steps = np.asarray(values, np.float32), int(self._steps[name])
    if values.shape[-1:] != (steps,):
      raise ValueError(
          f'{name} has {steps} steps, not the shape {values.shape}.')
    if not values.size:
      return np.zeros((*values.shape[:-1], steps // self.stride), np.int32)
    rows = values.reshape(-1, steps)
    standardised = series_lib.standardise(rows, *self._standards[name])
    present = np.isfinite(rows)
    indices = self._encode(self.params, standardised, present,
                           np.ones_like(present))
    ids = np.where(self._known(present), np.asarray(indices) + _FIRST,
                   modalities.NULL).astype(np.int32)
    return ids.reshape(*values.shape[:-1], -1)

  def decode(self, ids, name=''):
    """Series [..., T] float32 in K or mm of ids [..., S]; NaN for specials.

    Raises:
      ValueError: for another series or number of ids, or what is no id of the
        vocabulary.
    """
    name = self._name(name)
    ids = np.asarray(ids)
    if ids.dtype.kind not in 'iu':
      raise ValueError(f'The ids of {name} are {ids.dtype}, not integers.')
    steps = int(self._steps[name])
    if ids.shape[-1:] != (steps // self.stride,):
      raise ValueError(f'{name} has {steps // self.stride} ids, not the shape '
                       f'{ids.shape}.')
    if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
      raise ValueError(f'Ids run from {ids.min()} to {ids.max()}; the '
                       f'vocabulary of {name} has 0..{self.vocab_size - 1}.')
    if not ids.size:
      return np.zeros((*ids.shape[:-1], steps), np.float32)
    rows = ids.reshape(-1, ids.shape[-1])
    known = rows >= _FIRST
    values = self._decode(
        self.params, jnp.asarray(np.where(known, rows - _FIRST, 0)), known,
        np.ones((len(rows), steps), bool))
    mean, std = self._standards[name]
    dry = normalize.is_precipitation(modalities.MODALITIES[name]) & (
        rows == modalities.ZERO)
    known, dry = (np.repeat(x, self.stride, axis=1) for x in (known, dry))
    values = np.where(known, np.asarray(values) * std + mean,
                      np.where(dry, 0, np.nan))
    return values.astype(np.float32).reshape(*ids.shape[:-1], steps)

  def _name(self, name):
    if name in self.names:
      return name
    if not name and len(self.names) == 1:
      return self.names[0]
    raise ValueError(f'The tokenizer knows {list(self.names)}, not {name!r}.')
