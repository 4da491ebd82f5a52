"""The supervised upper bound: the pixel encoder with a linear classifier.

One model for a label and a temporal setting. Source: TimeSenCLIP, Sec. 4.1;
head, schedule and augmentation are not published. Here the classifier reads
the un-normalised vector, and the optimizer is that of the alignment.
"""

import jax
import jax.numpy as jnp

from fusion_jax.data import labels, normalize, pipelines
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.models import pixel_costs, pixel_encoder
from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, dropping, losses


class ClassifyPixels:
  """The task of `configs/align_pixels.py:supervised=...`.

  Attributes:
    encoder: `PixelEncoder`.
    classes: names, in the order of the label's values.
    statistics: as stored with the data.
  """

  def __init__(self, config, data_dir):
    """Checks the configuration; reads no examples.

    Args:
      config: of configs/align_pixels.py with `label`, `setting` and
        `augment`.
      data_dir: folder of the prepared data set. Where its statistics have
        `classes`, {label: names}, these are the classes, else those of
        `data.labels`.

    Raises:
      ValueError: for a label, a setting or an augmentation that does not
        exist, or one that does not go with the setting.
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
    self.encoder = pixel_encoder.make(config.model)
    self.statistics = normalize.load_statistics(data_dir)
    self.classes = pixel_transforms.class_names(self.statistics, config.label)
    self._remembered = {}
    self._head = post_norm.Linear(len(self.classes))

  @property
  def tokens_per_step(self):
    """Time steps of a global batch."""
    return self._config.batch_size * calendar.SETTINGS[self._config.setting]

  def keep(self, workdir):
    """Nothing: the configuration and the parameters are the model."""

  def init(self, key, batch):
    """Fresh parameters; no other arrays."""
    del batch
    key_encoder, key_head = jax.random.split(key)
    width = self.encoder.output_width
    return {
      'encoder': pixel_encoder.init(self.encoder, key_encoder),
      'classifier': self._head.init(key_head, jnp.zeros((1, width)))['params'],
    }, {}

  def weigh(self, batch):
    """Adds each row's part in the mean over the labelled rows."""
    known = batch['label'] >= 0
    if 'valid' in batch:
      known &= batch['valid']
    return batch | {
      'weight': known / jnp.maximum(known.sum(), 1).astype(jnp.float32)
    }

  def loss(self, params, extra, batch, key):
    """Cross-entropy; a held-out batch has 'valid' and drops nothing."""
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

  def logits(self, params, batch):
    """Scores of the classes, [B, classes]; drops nothing."""
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

  def _train_logits(self, params, batch, key):
    """`logits` with augmentations and dropout."""
    encoder, mine = self.encoder, params['encoder']
    seen, keep = calendar.summarise(
      batch['pixels'], batch['keep'], self._config.setting
    )
    if self._config.setting == 'monthly':
      return self._classify(
        params,
        pixel_encoder.embed_augmented(
          encoder, mine, seen, keep, key, **self._config.augment
        ),
      )
    return self._classify(
      params,
      encoder.apply(
        {'params': mine}, seen, keep, train=True, rngs={'dropout': key}
      ),
    )

  def _classify(self, params, vectors):
    return self._head.apply(
      {'params': params['classifier']}, vectors.astype(jnp.float32)
    )

  def source(self, split):
    """The examples of a split: `len`, and `[i]`.

    Raises:
      ValueError: if they have no such label.
    """
    source = pipelines.open_source(self._data_dir, split)
    if self._field not in source.fields:
      found = [
        field.removeprefix('label/')
        for field in source.fields
        if field.startswith('label/')
      ]
      raise ValueError(
        f'{source} has no {self._field}; set config.label to one of {found}.'
      )
    return source

  def batches(self, split):
    """Batches of this process's share: endless and shuffled for 'train'.

    They hold 'pixels' [B, 12, C, k, k] in [0, 1], 'keep' bool [B, 12] and
    'label' int32 [B], -1 for none; of any other split every example once, with
    'valid' bool [B].
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
        self._remembered.setdefault(
          split, pixel_transforms.Remembered(source, steps)
        ),
        (),
      )
    batches = pipelines.train_batches if train else pipelines.eval_batches
    return batches(
      source,
      steps,
      seed=config.seed,
      batch_size=config.batch_size if train else config.evals.batch_size,
    )

  def flops(self, batch):
    """Model FLOPs of a training step on a batch."""
    return (
      3
      * 2
      * len(batch['pixels'])
      * pixel_costs.macs(
        self.encoder, calendar.SETTINGS[self._config.setting], whole=False
      )
    )
