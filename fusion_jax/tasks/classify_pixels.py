"""The supervised upper bound: the pixel encoder with a linear classifier.

One model for a label and a temporal setting. Source: TimeSenCLIP, Sec. 4.1;
head, schedule and augmentation are not published. Here the classifier reads
the un-normalised vector, and the optimizer is that of the alignment.
"""

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
from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, dropping, losses
from fusion_jax.types import (
  Array,
  Batch,
  Config,
  Key,
  Metrics,
  Params,
  Statistics,
)


class ClassifyPixels:
  """The task of `configs/align_pixels.py:supervised=...`.

  Attributes:
    encoder: the pixel encoder that is trained.
    classes: names of the classes, in the order of the label's values.
    statistics: statistics of the training split, as stored with the data.
  """

  encoder: pixel_encoder.PixelEncoder
  classes: tuple[str, ...]
  statistics: Statistics

  def __init__(self, config: Config, data_dir: str | pathlib.Path):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: configuration of configs/align_pixels.py:supervised=..., or of
        configs/worldcereal.py.
      data_dir: folder of the prepared data set. Where its statistics have
        `classes`, {label: names}, these are the classes, else those of
        `data.labels`.

    Raises:
      ValueError: if the label, the setting or the augmentation does not exist,
        or the augmentation does not go with the setting.
      FileNotFoundError: if the statistics are missing.
    """
    if config.setting not in calendar.SETTINGS:
      raise ValueError(
        f'config.setting={config.setting!r} is not one of '
        f'{sorted(calendar.SETTINGS)}.'
      )
    if config.augment.kind not in dropping.KINDS or (
      config.augment.kind != 'none' and config.setting != 'monthly'
    ):
      raise ValueError(
        f'config.augment.kind={config.augment.kind!r}: choose one of '
        f"{list(dropping.KINDS)}; with setting={config.setting!r} 'none', "
        "unless it is 'monthly'."
      )
    self._config = config
    self._data_dir = data_dir
    self._field = labels.FIELDS.get(config.label, f'label/{config.label}')
    self.statistics = normalize.load_statistics(data_dir)
    assembly = assembly_lib.assemble(config, self.statistics)
    self.encoder = assembly.encoder
    self.classes = assembly.classes
    self._remembered: dict[str, steps_lib.Remembered] = {}
    self._head = post_norm.Linear(len(self.classes))

  @property
  def tokens_per_step(self) -> int:
    """Returns the number of time steps of a global batch."""
    return self._config.batch_size * calendar.SETTINGS[self._config.setting]

  def keep(self, workdir: pathlib.Path) -> None:
    """Does nothing: configuration and parameters are the whole model."""

  def init(self, key: Key, batch: Batch) -> tuple[Params, Any]:
    """Returns fresh parameters, and no other arrays.

    Args:
      key: key of the random initial values.
      batch: not used: the configuration says all shapes.
    """
    del batch
    key_encoder, key_head = jax.random.split(key)
    width = self.encoder.output_width
    return {
      'encoder': pixel_encoder.init(self.encoder, key_encoder),
      'classifier': self._head.init(key_head, jnp.zeros((1, width)))['params'],
    }, {}

  def weigh(self, batch: Batch) -> Batch:
    """Adds each place's share of the mean over the labelled places.

    Args:
      batch: global batch of `batches`.

    Returns:
      The batch with 'weight' [B], 0 for places without a label.
    """
    known = batch['label'] >= 0
    if 'valid' in batch:
      known &= batch['valid']
    return {
      **batch,
      'weight': known / jnp.maximum(known.sum(), 1).astype(jnp.float32),
    }

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: Key
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the cross-entropy of a batch.

    Args:
      params: parameters of encoder and classifier.
      extra: no arrays; returned as it is.
      batch: batch of `weigh`, arrays [B, ...]. One with 'valid' is held out:
        nothing is dropped from it.
      key: key of the random draws of augmentations and dropout.

    Returns:
      The mean over labelled places, in nats; the metrics; and `extra`.
    """
    logits = (
      self.logits(params, batch)
      if 'valid' in batch
      else self._train_logits(params, batch, key)
    )
    target = jnp.maximum(batch['label'], 0)
    values = losses.cross_entropy(logits, target)
    counted = (batch['weight'] > 0).astype(jnp.float32)
    hits = (jnp.argmax(logits, axis=1) == target) * counted
    metrics = {
      f'loss/{self._config.label}': (jnp.sum(values * counted), counted.sum()),
      'top1': (hits.sum(), counted.sum()),
    }
    return jnp.sum(values * batch['weight']), (metrics, extra)

  def logits(self, params: Params, batch: Batch) -> Array:
    """Returns the scores of the classes [B, classes]; drops nothing.

    Args:
      params: parameters of the state, `eval_params`.
      batch: batch of `batches`, with 'pixels' and 'keep'.
    """
    return self._classify(
      params,
      pixel_encoder.embed(
        self.encoder,
        params['encoder'],
        batch['pixels'],
        batch['keep'],
        self._config.setting,
      ),
    )

  def _train_logits(self, params: Params, batch: Batch, key: Key) -> Array:
    """Returns the scores of `logits`, with augmentations and dropout."""
    encoder, encoder_params = self.encoder, params['encoder']
    seen, keep = calendar.summarise(
      batch['pixels'], batch['keep'], self._config.setting
    )
    if self._config.setting == 'monthly':
      return self._classify(
        params,
        pixel_encoder.embed_augmented(
          encoder, encoder_params, seen, keep, key, **self._config.augment
        ),
      )
    vectors = encoder.apply(
      {'params': encoder_params},
      seen,
      keep,
      train=True,
      rngs={'dropout': key},
    )
    return self._classify(params, cast(jax.Array, vectors))

  def _classify(self, params: Params, vectors: Array) -> Array:
    """Returns the scores [B, classes] of vectors [B, E]."""
    logits = self._head.apply(
      {'params': params['classifier']}, vectors.astype(jnp.float32)
    )
    return cast(jax.Array, logits)

  def source(self, split: str) -> pipelines.Opened:
    """Returns the examples of a split.

    Raises:
      ValueError: if they do not have the label.
    """
    source = pipelines.open_source(self._data_dir, split)
    if self._field not in source.fields:
      labelled = [
        field.removeprefix('label/')
        for field in source.fields
        if field.startswith('label/')
      ]
      raise ValueError(
        f'{source} has no {self._field}; set config.label to one of {labelled}.'
      )
    return source

  def batches(self, split: str) -> grain.DatasetIterator:
    """Returns batches of this process's share of a split.

    They hold 'pixels' [B, 12, C, k, k] in [0, 1], 'keep' bool [B, 12] and
    'label' int32 [B], -1 for none.

    Args:
      split: 'train' for endless shuffled batches. Any other split has every
        example once, with 'valid' bool [B].
    """
    config, train = self._config, split == 'train'
    steps = pixel_transforms.classifying(
      config.model.side,
      self._field,
      scaling=config.scaling,
      missing_bands=config.missing_bands,
    )
    source = self.source(split)
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

  def flops(self, batch: Batch) -> float:
    """Returns the model FLOPs of a training step on a batch."""
    return (
      3
      * 2
      * len(batch['pixels'])
      * pixel_costs.macs(
        self.encoder, calendar.SETTINGS[self._config.setting], whole=False
      )
    )
