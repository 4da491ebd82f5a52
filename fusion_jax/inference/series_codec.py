"""A trained series tokenizer, ready to use: `fusion_jax.load(workdir)`."""

from fusion_jax.models import series_codes


class SeriesCodec:
  """Series in K or mm <-> ids of the weather vocabulary.

  Attributes:
    config: of the run.
    params: of the model.
    names: of the series that it knows.
    codes: {series: `SeriesCodes`}, which say what the ids are.
    statistics: of its training data.
    vocab_size: ids, specials included.
    stride: steps of a series that share an id.
  """

  def __init__(self, config, params, task):
    """Args: as the attributes; task: `SeriesTokenizer` of the configuration."""
    self.config = config
    self.params = params
    self.names = task.names
    self.statistics = task.statistics
    self.codes = {
      name: series_codes.SeriesCodes(name, task.model, params, mean, std)
      for name, mean, std in zip(task.names, *task.standards)
    }
    first = self.codes[self.names[0]]
    self.vocab_size, self.stride = first.vocab_size, first.stride

  def encode(self, values, name=''):
    """Ids [..., S] int32 of a series [..., T], NaN = missing.

    Args:
      values: in K or mm, of the series' own number of steps.
      name: of the series; may be left out if the tokenizer knows only one.

    Raises:
      ValueError: for another series, or another number of steps.
    """
    return self.codes[self._name(name)].encode(values)

  def decode(self, ids, name=''):
    """Series [..., T] float32 in K or mm of ids [..., S]; NaN for specials.

    Raises:
      ValueError: for another series or number of ids, or what is no id of the
        vocabulary.
    """
    return self.codes[self._name(name)].decode(ids)

  def _name(self, name):
    if name in self.names:
      return name
    if not name and len(self.names) == 1:
      return self.names[0]
    raise ValueError(f'The tokenizer knows {list(self.names)}, not {name!r}.')
