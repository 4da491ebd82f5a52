"""Training of a series tokenizer: L2 and commitment, over what is present.

Source: the fusion paper, Sec. 3.1.2; what it leaves open is decided in
configs/series_tokenizer.py.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities
from fusion_jax.data import normalize, pipelines, records
from fusion_jax.data.transforms import series_tokenizer as series_transforms
from fusion_jax.models import series_tokenizer


class SeriesTokenizer:
  """The task of `configs/series_tokenizer.py`; see train/loop.py.

  Attributes:
    names: of the series that share the tokenizer.
    model: `models.series_tokenizer.SeriesTokenizer`.
    standards: (mean [n], std [n]) of the series in the training split, K or mm.
    steps: [n] length of each series.
    statistics: of the training split, as stored with the data.
  """

  def __init__(self, config, data_dir):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: of configs/series_tokenizer.py.
      data_dir: folder of the prepared data set, or of a finished run.

    Raises:
      ValueError: for series that do not exist, or that are missing or constant
        in the training split.
    """
    self._config = config
    self._data_dir = data_dir
    self.names = check_names(config.series)
    self.model = make_model(config.model)
    self.statistics = normalize.load_statistics(data_dir)
    self.standards = make_standards(self.names, self.statistics)
    self.steps = np.array(
      [series_transforms.num_steps([n]) for n in self.names]
    )
    self._sources = {}

  @property
  def tokens_per_step(self):
    """Codes of a global batch."""
    return self._config.batch_size * int(self.steps.max()) // self.model.stride

  def keep(self, workdir):
    """Using the model needs nothing besides its statistics."""

  def init(self, key, batch):
    """Fresh parameters; no other arrays."""
    return self.model.init(
      key, batch['values'], batch['present'], batch['inside']
    )['params'], {}

  def weigh(self, batch):
    """Adds the weight of every value and code: means over the whole batch."""
    known = self.model.known(batch['present'])
    return batch | {
      'weight': batch['present'] / jnp.maximum(batch['present'].sum(), 1),
      'code_weight': known / jnp.maximum(known.sum(), 1),
    }

  def loss(self, params, extra, batch, key):
    """Mean squared error, K^2 or mm^2, plus the commitment to codes."""
    del key  # Nothing is random: windows are varied on the host.
    found = self.model.apply(
      {'params': params}, batch['values'], batch['present'], batch['inside']
    )
    std_B1 = jnp.asarray(self.standards[1])[batch['series']][:, None]
    error_BT = jnp.square((found['values'] - batch['values']) * std_B1)
    distance_BS = commitment(self.model.fsq, found['latents'], found['codes'])
    reconstruction = (error_BT * batch['weight']).sum()
    committed = (distance_BS * batch['code_weight']).sum()
    metrics = {'commitment': (committed, batch['code_weight'].sum())}
    for number, name in enumerate(self.names):
      mine_BT = batch['present'] & (batch['series'] == number)[:, None]
      metrics[f'loss/{name}'] = (
        jnp.where(mine_BT, error_BT, 0).sum(),
        mine_BT.sum(),
      )
    loss = reconstruction + self._config.loss.commitment * committed
    return loss, (metrics, extra)

  def source(self, split):
    """The windows of a split: `len`, and `[i]`; read once."""
    if split not in self._sources:
      self._sources[split] = series_transforms.Windows(
        records.Examples(self._data_dir, split), self.names
      )
    return self._sources[split]

  def batches(self, split):
    """Batches of this process's share: endless and shuffled for 'train'.

    Of any other split every window once, as it is.
    """
    config, train = self._config, split == 'train'
    steps = [series_transforms.Standardise(*self.standards, self.steps)]
    if train:
      steps.append(
        series_transforms.Vary(config.vary.shift, config.vary.stretch)
      )
    batches = pipelines.train_batches if train else pipelines.eval_batches
    return batches(  # From memory: threads would cost more than they bring.
      self.source(split),
      steps,
      batch_size=config.batch_size,
      seed=config.seed,
      num_threads=0,
      prefetch=0,
    )

  def flops(self, batch):
    """Model FLOPs of a training step on a batch: two a multiply-add, thrice."""
    shapes = jax.eval_shape(self.init, jax.random.key(0), batch)[0]
    kernels = sum(x.size for x in jax.tree.leaves(shapes) if x.ndim == 2)
    return 6 * kernels * batch['values'].size


def commitment(fsq, latents, codes):
  """Squared distance [B, S] of bounded latents to the codes they went to.

  The paper has no bound; with it the distance is taken after tanh, on the grid.
  """
  bounded = jnp.tanh(latents)
  return jnp.square(bounded - jax.lax.stop_gradient(codes)).mean(-1)


def check_names(names):
  """The names of series, checked.

  Raises:
    ValueError: if one is no series, or is there twice, or if there is none.
  """
  known = {n for n, m in modalities.MODALITIES.items() if m.kind == 'series'}
  names = tuple(names)
  if not names or len(set(names)) < len(names) or set(names) - known:
    raise ValueError(
      f'config.series={names} should name each of one or more '
      f'series once, out of {sorted(known)}.'
    )
  return names


def make_model(config):
  """The model that the section `model` of a configuration describes."""
  settings = dict(config, dtype=jnp.dtype(config.dtype))
  for name in ('levels', 'dilations'):
    settings[name] = tuple(settings[name])
  return series_tokenizer.SeriesTokenizer(**settings)


def make_standards(names, statistics):
  """(mean [n], std [n]) float32 of series, of the training split.

  Raises:
    ValueError: if a series is not in the data, has no value, or is constant.
  """
  found = []
  for name in names:
    if name not in statistics['series']:
      raise ValueError(
        f'There are no statistics of {name}, only of '
        f'{sorted(statistics["series"])}.'
      )
    series = statistics['series'][name]
    if not series['count']:
      raise ValueError(
        f'{name} has no value in the training split; leave it '
        'out of config.series, or prepare data that have it.'
      )
    if not series['std'] > 1e-6 * max(1, abs(series['mean'])):
      raise ValueError(
        f'{name} is {series["mean"]:g} throughout the training split: there '
        'is nothing to learn. Leave it out of config.series.'
      )
    found.append((series['mean'], series['std']))
  mean, std = np.array(found, np.float32).T
  return mean, std
