"""Aligns a pixel's year with photos from the ground in CLIP's space.

The encoder learns by InfoNCE to find the pooled photos of its own place among
those of a queue. Trained are encoder, pooling and temperature; CLIP's vectors
of the photos were computed with the data set. Source: TimeSenCLIP, Sec. 3.
"""

import math
import pathlib
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp

from fusion_jax.assembly import pixel_encoder as assembly_lib
from fusion_jax.data import labels, normalize, pipelines
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.data.transforms import steps as steps_lib
from fusion_jax.models import pixel_costs, pixel_encoder
from fusion_jax.nn import pooling
from fusion_jax.ops import calendar, contrastive, dropping
from fusion_jax.types import (
  Array,
  Batch,
  Config,
  Key,
  Metrics,
  Params,
  Statistics,
)

_NEGATIVES = ('queue', 'queue_and_batch')
_WARM_UPS = ('noise', 'skip')


class AlignPixels:
  """The task of `configs/align_pixels.py`; see train/loop.py for its methods.

  The queue is `extra['queue']`. A step scores against the queue as it was,
  then adds its own keys in the order of the batch, which is the order of the
  devices. With `accumulate` = n every micro-batch is such a step: it sees the
  keys of the one before, and rows go in micro-batch by micro-batch (row r of
  the batch belongs to micro-batch r mod n). So it is in the reference, whose
  queue moves with every forward pass; the alternative, one queue for all
  micro-batches of a step, would make n micro-batches exactly one batch but is
  not what was published. Held-out batches never enter.

  Attributes:
    encoder: the pixel encoder that is trained.
    pool: pooling of the photos of a place, trained with it.
    statistics: statistics of the training split, as stored with the data.
    data_dir: folder of the prepared data set.
  """

  encoder: pixel_encoder.PixelEncoder
  pool: pooling.ViewPool
  statistics: Statistics
  data_dir: pathlib.Path

  def __init__(self, config: Config, data_dir: str | pathlib.Path):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: configuration of configs/align_pixels.py.
      data_dir: folder of the prepared data set.

    Raises:
      ValueError: if a choice does not exist, or the queue does not hold whole
        batches.
      FileNotFoundError: if the statistics are missing.
    """
    loss = config.loss
    for name, value, allowed in (
      ('loss.negatives', loss.negatives, _NEGATIVES),
      ('loss.warm_up', loss.warm_up, _WARM_UPS),
      ('augment.kind', config.augment.kind, dropping.KINDS),
    ):
      if value not in allowed:
        raise ValueError(
          f'config.{name}={value!r} is not one of {list(allowed)}.'
        )
    contrastive.check_queue_size(
      loss.queue_size, config.batch_size, config.accumulate
    )
    self._config = config
    self.data_dir = pathlib.Path(data_dir)
    self.statistics = normalize.load_statistics(data_dir)
    self.encoder = assembly_lib.assemble(config, self.statistics).encoder
    self.pool = pooling.ViewPool(**config.pool)
    self._remembered: dict[str, steps_lib.Remembered] = {}

  @property
  def tokens_per_step(self) -> int:
    """Returns the number of months of a global batch."""
    return self._config.batch_size * calendar.MONTHS

  def keep(self, workdir: pathlib.Path) -> None:
    """Does nothing: configuration and parameters are the whole model."""

  def init(self, key: Key, batch: Batch) -> tuple[Params, Any]:
    """Returns fresh parameters, and a queue of noise under 'queue'.

    Args:
      key: key of the random initial values.
      batch: batch of `batches`, for its shapes.
    """
    key_encoder, key_pool, key_queue = jax.random.split(key, 3)
    views = batch['views'][:1]
    pool = self.pool.init(key_pool, views)
    params = {
      'encoder': pixel_encoder.init(self.encoder, key_encoder),
      # Pooling of kind 'mean' has no parameters.
      'pool': pool['params'] if pool else {},
    }
    if self._config.loss.learn_temperature:
      params['log_scale'] = jnp.float32(self._log_scale)
    queue = contrastive.init_queue(
      key_queue, self._config.loss.queue_size, views.shape[-1]
    )
    return params, {'queue': queue}

  def weigh(self, batch: Batch) -> Batch:
    """Adds each place's share of the mean over the whole batch.

    Args:
      batch: global batch of `batches`.

    Returns:
      The batch with 'weight' [B], 0 for places without any photo.
    """
    counted = batch['has_photo'].any(axis=1)
    if 'valid' in batch:  # Rows that fill up a held-out batch do not count.
      counted &= batch['valid']
    return {
      **batch,
      'weight': counted / jnp.maximum(counted.sum(), 1).astype(jnp.float32),
    }

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: Key
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the InfoNCE loss of a batch against the queue.

    Args:
      params: parameters of encoder, pooling and temperature.
      extra: the queue, under 'queue'.
      batch: batch of `weigh`, arrays [B, ...]. One with 'valid' is held out:
        nothing is dropped from it, and its keys do not enter the queue.
      key: key of the random draws of augmentations and dropout.

    Returns:
      The loss; the metrics; and the queue with the keys of the batch.
    """
    config, train = self._config.loss, 'valid' not in batch
    queries = contrastive.normalise(
      self._embed(params, batch, key) if train else self.embed(params, batch)
    )
    keys = contrastive.normalise(self.pool_views(params, batch))
    scale = jnp.exp(
      params['log_scale']
      if config.learn_temperature
      else jnp.float32(self._log_scale)
    )
    logits = contrastive.logits(
      queries,
      keys,
      batch['id'],
      extra['queue'],
      scale,
      in_batch=config.negatives == 'queue_and_batch',
      mask_ids=config.mask_ids,
      skip_noise=config.warm_up == 'skip',
    )
    losses = contrastive.info_nce(logits)
    if config.symmetric:
      losses = (
        losses
        + contrastive.reverse_info_nce(
          queries, keys, batch['id'], scale, mask_ids=config.mask_ids
        )
      ) / 2
    counted = (batch['weight'] > 0).astype(jnp.float32)
    hits = (jnp.argmax(logits, axis=1) == 0) * counted
    metrics = {
      'loss/alignment': (jnp.sum(losses * counted), counted.sum()),
      'top1': (hits.sum(), counted.sum()),
      'scale': (scale, 1.0),
    }
    if train:
      extra = extra | {
        'queue': contrastive.enqueue(extra['queue'], keys, batch['id'])
      }
    return jnp.sum(losses * batch['weight']), (metrics, extra)

  def embed(
    self, params: Params, batch: Batch, setting: str = 'monthly'
  ) -> Array:
    """Returns the vectors of pixels [B, E], not normalised; drops nothing.

    Args:
      params: parameters of the state, `eval_params`.
      batch: batch of `batches`, with 'pixels' and 'keep'.
      setting: time steps that are made of the months: 'monthly', 'quarterly'
        or 'single'.
    """
    return pixel_encoder.embed(
      self.encoder, params['encoder'], batch['pixels'], batch['keep'], setting
    )

  def pool_views(self, params: Params, batch: Batch) -> Array:
    """Returns the vectors of the photos of places [B, E], not normalised.

    Args:
      params: parameters of the state, `eval_params`.
      batch: batch of `batches`, with 'views' and 'has_photo'.
    """
    vectors = self.pool.apply(
      {'params': params['pool']}, batch['views'], batch['has_photo']
    )
    return cast(jax.Array, vectors)

  def _embed(self, params: Params, batch: Batch, key: Key) -> Array:
    """Returns the vectors of `embed`, with augmentations and dropout."""
    return pixel_encoder.embed_augmented(
      self.encoder,
      params['encoder'],
      batch['pixels'],
      batch['keep'],
      key,
      **self._config.augment,
    )

  @property
  def _log_scale(self) -> float:
    """Returns the logarithm of the factor of cosines at the start."""
    return math.log(1 / self._config.loss.temperature)

  def source(self, split: str) -> pipelines.Opened:
    """Returns the examples of a split."""
    return pipelines.open_source(self.data_dir, split)

  def batches(self, split: str) -> grain.DatasetIterator:
    """Returns batches of this process's share of a split.

    They hold 'pixels' [B, 12, C, k, k] in [0, 1], 'keep' bool [B, 12],
    'views' [B, V, E], 'has_photo' bool [B, V], 'id' int32 [B].

    Args:
      split: 'train' for endless shuffled batches. Any other split has every
        example once, with 'valid' bool [B] and all labels of the data set,
        'label/...' int32 [B].
    """
    config, train = self._config, split == 'train'
    source = self.source(split)
    fields = (
      []
      if train
      else [field for field in labels.FIELDS.values() if field in source.fields]
    )
    steps = pixel_transforms.aligning(
      config.model.side,
      scaling=config.scaling,
      missing_bands=config.missing_bands,
      train=train,
      fields=fields,
    )
    if config.remember:
      source, steps = (
        self._remembered.setdefault(split, steps_lib.Remembered(source, steps)),
        (),
      )
    batches = pipelines.train_batches if train else pipelines.eval_batches
    return batches(
      source,
      steps,
      seed=config.seed,
      batch_size=config.batch_size if train else config.evals.batch_size,
    )

  def class_names(self, label: str) -> tuple[str, ...]:
    """Returns the names of a label's classes, in the order of its values."""
    return pixel_transforms.class_names(self.statistics, label)

  def flops(self, batch: Batch) -> float:
    """Returns the model FLOPs of a training step on a batch."""
    return (
      3 * 2 * len(batch['pixels']) * pixel_costs.macs(self.encoder, whole=False)
    )
