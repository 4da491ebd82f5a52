"""Training of a series tokenizer: squared error and commitment to the codes.

Source: the fusion paper, Sec. 3.1.2 and Eq. (2); choices that the paper leaves
open are made in configs/series_tokenizer.py.
"""

import pathlib
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.assembly import series_tokenizer as assembly_lib
from fusion_jax.data import pipelines, records
from fusion_jax.data.transforms import series_tokenizer as series_transforms
from fusion_jax.models import series_tokenizer
from fusion_jax.ops import fsq as fsq_lib
from fusion_jax.types import (
  Array,
  Batch,
  Config,
  Key,
  Metrics,
  Params,
  Statistics,
)


class SeriesTokenizer:
  """The task of `configs/series_tokenizer.py`; see train/loop.py.

  Attributes:
    names: names of the series that share the tokenizer.
    model: the tokenizer that is trained.
    standards: mean and standard deviation of the series in the training split,
      both [n] float32, K or mm.
    steps: [n] number of time steps of each series.
    statistics: statistics of the training split, as stored with the data.
  """

  names: tuple[str, ...]
  model: series_tokenizer.SeriesTokenizer
  standards: tuple[np.ndarray, np.ndarray]
  steps: np.ndarray
  statistics: Statistics

  def __init__(self, config: Config, data_dir: str | pathlib.Path):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: configuration of configs/series_tokenizer.py.
      data_dir: folder of the prepared data set.

    Raises:
      ValueError: if a series does not exist, or is missing or constant in the
        training split.
      FileNotFoundError: if the statistics are missing.
    """
    self._config = config
    self._data_dir = data_dir
    assembly = assembly_lib.assemble(config, data_dir)
    self.names = assembly.names
    self.model = assembly.model
    self.statistics = assembly.statistics
    self.standards = assembly.mean, assembly.std
    self.steps = np.array(
      [series_transforms.num_steps([n]) for n in self.names]
    )
    self._sources: dict[str, series_transforms.Windows] = {}

  @property
  def tokens_per_step(self) -> int:
    """Returns the number of codes of a global batch."""
    return self._config.batch_size * int(self.steps.max()) // self.model.stride

  def keep(self, workdir: pathlib.Path) -> None:
    """Does nothing: the statistics are all that using the model needs."""

  def init(self, key: Key, batch: Batch) -> tuple[Params, Any]:
    """Returns fresh parameters, and no other arrays.

    Args:
      key: key of the random initial values.
      batch: batch of `batches`, for its shapes.
    """
    return self.model.init(
      key, batch['values'], batch['present'], batch['inside']
    )['params'], {}

  def weigh(self, batch: Batch) -> Batch:
    """Adds the weight of every value and code, for means over the whole batch.

    Args:
      batch: global batch of `batches`.

    Returns:
      The batch with 'weight' [B, T] and 'code_weight' [B, S].
    """
    known = self.model.known(batch['present'])
    return {
      **batch,
      'weight': batch['present'] / jnp.maximum(batch['present'].sum(), 1),
      'code_weight': known / jnp.maximum(known.sum(), 1),
    }

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: Key
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the loss of a batch, Eq. (2) of the fusion paper.

    Differs from the paper: only values that are present count, and the distance
    to the codes is that of `commitment`.

    Args:
      params: parameters of the tokenizer.
      extra: no arrays; returned as it is.
      batch: batch of `weigh`, arrays [B, ...].
      key: not used, because windows are varied on the host and nothing else is
        random.

    Returns:
      Mean squared error, in K^2 or mm^2, plus the weighed commitment to codes;
      the metrics with the error of every series, and `extra`.
    """
    del key
    outputs = cast(
      dict[str, jax.Array],
      self.model.apply(
        {'params': params}, batch['values'], batch['present'], batch['inside']
      ),
    )
    std_B1 = jnp.asarray(self.standards[1])[batch['series']][:, None]
    error_BT = jnp.square((outputs['values'] - batch['values']) * std_B1)
    distance_BS = commitment(
      self.model.fsq, outputs['latents'], outputs['codes']
    )
    reconstruction = (error_BT * batch['weight']).sum()
    committed = (distance_BS * batch['code_weight']).sum()
    metrics = {'commitment': (committed, batch['code_weight'].sum())}
    for number, name in enumerate(self.names):
      of_series_BT = batch['present'] & (batch['series'] == number)[:, None]
      metrics[f'loss/{name}'] = (
        jnp.where(of_series_BT, error_BT, 0).sum(),
        of_series_BT.sum(),
      )
    loss = reconstruction + self._config.loss.commitment * committed
    return loss, (metrics, extra)

  def source(self, split: str) -> series_transforms.Windows:
    """Returns the windows of a split; they are read once and kept."""
    if split not in self._sources:
      self._sources[split] = series_transforms.Windows(
        records.Examples(self._data_dir, split), self.names
      )
    return self._sources[split]

  def batches(self, split: str) -> grain.DatasetIterator:
    """Returns batches of this process's share of a split.

    Args:
      split: 'train' for endless shuffled batches of varied windows. Any other
        split has every window once, as it is.
    """
    config, train = self._config, split == 'train'
    steps: list[pipelines.Transform] = [
      series_transforms.Standardise(*self.standards, self.steps)
    ]
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

  def flops(self, batch: Batch) -> float:
    """Returns the model FLOPs of a training step on a batch.

    Every multiply-add counts as two; the backward pass costs as much as two
    forward passes.
    """
    shapes = jax.eval_shape(self.init, jax.random.key(0), batch)[0]
    kernels = sum(x.size for x in jax.tree.leaves(shapes) if x.ndim == 2)
    return 6 * kernels * batch['values'].size


def commitment(fsq: fsq_lib.FSQ, latents: Array, codes: Array) -> jax.Array:
  """Returns the squared distance of bounded latents to their codes, [B, S].

  It is the commitment term of Eq. (2) of the fusion paper. Differs from the
  paper: latents are bounded by tanh first, because the grid lies in [-1, 1].

  Args:
    fsq: quantizer of the latents.
    latents: [B, S, C] unbounded latents.
    codes: [B, S, C] points of the grid that the latents were snapped to.
  """
  bounded = jnp.tanh(latents)
  return jnp.square(bounded - jax.lax.stop_gradient(codes)).mean(-1)
