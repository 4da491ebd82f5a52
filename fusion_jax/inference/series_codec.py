"""A trained series tokenizer, ready to use: weather series to ids and back."""

import numpy as np

from fusion_jax.assembly import series_tokenizer as series_assembly
from fusion_jax.inference import series_inputs, trained
from fusion_jax.models import series_codes
from fusion_jax.types import Array, Config, Params, Statistics


class SeriesCodec(trained.Trained):
  """Weather series in K or mm <-> ids of the weather vocabulary.

  Attributes:
    config: configuration of the run.
    params: parameters of the tokenizer.
    names: names of the series that it knows.
    codes: the codes of every series, by name, which say what the ids are.
    statistics: statistics of its training data.
    vocab_size: number of ids, special ones included.
    stride: time steps of a series that share an id.
  """

  config: Config
  params: Params
  names: tuple[str, ...]
  codes: dict[str, series_codes.SeriesCodes]
  statistics: Statistics
  vocab_size: int
  stride: int

  def __init__(
    self,
    config: Config,
    params: Params,
    assembly: series_assembly.SeriesAssembly,
  ):
    """Takes a trained tokenizer apart into codes for each of its series.

    Args:
      config: configuration with the task 'series_tokenizer', up to date.
      params: parameters of the tokenizer.
      assembly: tokenizer and standardisation of its series.
    """
    self.config = config
    self.params = params
    self.names = assembly.names
    self.statistics = assembly.statistics
    self.codes = assembly.codes(params)
    first = self.codes[self.names[0]]
    self.vocab_size, self.stride = first.vocab_size, first.stride

  def encode(
    self, values: Array, name: str = '', *, unit: str = ''
  ) -> np.ndarray:
    """Encodes a series.

    Args:
      values: [..., T] values in K or mm, NaN where one is missing. T is the
        number of time steps of the series. The attribute `units` of an
        `xarray.DataArray` is heeded.
      name: name of the series; may be left out if the tokenizer knows only one.
      unit: unit of the values if they are no K or mm, such as 'degC' or 'm'.
        'mm' says that nothing but traces of rain are no metres.

    Returns:
      Ids, [..., S] int32, one for every `stride` time steps.

    Raises:
      ValueError: if the tokenizer does not know the series, the series has
        another number of time steps, or values cannot be what they are taken
        for, as degrees Celsius that are taken for K.
    """
    name = self._name(name)
    array = series_inputs.read(values, name, unit, has_argument=True)
    ids = self.codes[name].encode(array)
    flat = array.reshape(-1, array.shape[-1])
    self.ranges.warn(name, trained.means_of(flat, 1), ())
    return ids

  def decode(self, ids: Array, name: str = '') -> np.ndarray:
    """Decodes a series.

    Args:
      ids: [..., S] integer ids of `encode`.
      name: name of the series; may be left out if the tokenizer knows only one.

    Returns:
      Values, [..., T] float32 in K or mm, NaN for special ids.

    Raises:
      ValueError: if the tokenizer does not know the series, the number of ids
        is another one, or an id is not in the vocabulary.
    """
    return self.codes[self._name(name)].decode(ids)

  def _name(self, name: str) -> str:
    """Returns the name of the series that is meant."""
    if name in self.names:
      return name
    if not name and len(self.names) == 1:
      return self.names[0]
    raise ValueError(f'The tokenizer knows {list(self.names)}, not {name!r}.')
