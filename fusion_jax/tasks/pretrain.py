"""Masked modelling of images, places and weather: any from any other.

Source: the fusion paper, Sec. 3.3; what its code base does where the two
differ is decided in configs/pretrain.py.
"""

import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import grain
import jax
import jax.numpy as jnp

from fusion_jax.assembly import backbone as assembly_lib
from fusion_jax.data import mixtures, pipelines
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.data.transforms import stored_codes
from fusion_jax.models import costs, series_codes
from fusion_jax.ops import grouped_losses, losses, quantize
from fusion_jax.types import (
  Batch,
  Config,
  Key,
  Metrics,
  Params,
  Source,
  Statistics,
)

_WEIGHTS = {'mod': losses.modality_weights, 'token': losses.token_weights}


class Pretrain:
  """The task of `configs/pretrain.py`; see train/loop.py for its methods.

  Attributes:
    assembly: the backbone with everything that its inputs pass through.
    backbone: the model that is trained.
    modalities: modalities of the model, sorted by name.
    heads: output head of every modality that is predicted.
    quantizers: what encodes and decodes the values of each series, by name:
      bins fitted on the training split, or learned codes.
    statistics: statistics of the training split, as stored with the data.
  """

  def __init__(self, config: Config, data_dir: str | pathlib.Path):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: configuration of configs/pretrain.py.
      data_dir: folder of the prepared data set. A `coords_tokenizer.json` in
        `config.init_from` or in this folder replaces our own vocabulary of
        coordinates; the tokenizers of `config.series_codes` are read from it.

    Raises:
      ValueError: if a modality, a weighting or a quantizer does not exist, the
        statistics lack one of the modalities, or a tokenizer has another
        number of codes than configured.
      FileNotFoundError: if the statistics or a tokenizer are missing.
    """
    if config.init_from and not pathlib.Path(config.init_from).is_dir():
      raise ValueError(
        f'config.init_from={config.init_from} is no folder; '
        '`python -m fusion_jax.convert` makes one.'
      )
    if config.loss.weighting not in _WEIGHTS:
      raise ValueError(
        f'config.loss.weighting={config.loss.weighting!r} is '
        f'not one of {sorted(_WEIGHTS)}.'
      )
    self._config = config
    self._data_dir = pathlib.Path(data_dir)
    self.assembly = assembly_lib.assemble(config, data_dir, config.init_from)
    self.backbone = self.assembly.backbone
    self.modalities = self.assembly.modalities
    self.heads = self.assembly.heads
    self._weigh = _WEIGHTS[config.loss.weighting]

  @property
  def quantizers(
    self,
  ) -> Mapping[str, quantize.Quantizer | series_codes.SeriesCodes]:
    """Returns what encodes and decodes the values of each series, by name."""
    return self.assembly.quantizers

  @property
  def statistics(self) -> Statistics:
    """Returns the statistics of the training split."""
    return self.assembly.statistics

  @property
  def tokens_per_step(self) -> int:
    """Returns the number of input and target slots of a global batch."""
    return self._config.batch_size * sum(self._config.slots.values())

  def keep(self, workdir: pathlib.Path) -> None:
    """Writes what using the model needs, besides its statistics.

    Args:
      workdir: work directory of the run.

    Raises:
      ValueError: if the run began with codes of another tokenizer.
    """
    self.assembly.tokenizer.save(workdir / assembly_lib.VOCABULARY)
    for codes in self.assembly.codes.values():
      series_codes.keep(codes, workdir)

  def init(self, key: Key, batch: Batch) -> tuple[Params, Any]:
    """Returns fresh parameters, and no other arrays.

    Args:
      key: key of the random initial values.
      batch: batch of `batches`, for its shapes.
    """
    return self.backbone.init(key, batch)['params'], {}

  def weigh(self, batch: Batch) -> Batch:
    """Adds the weight of every target, from counts over the whole batch.

    Args:
      batch: global batch of `batches`.

    Returns:
      The batch with 'ce_weight' and 'emd_weight' [B, M] under 'decoder'.
    """
    slots = batch['decoder']
    ordinal = losses.ordinal_weights(
      slots['modality'], slots['trainable'], slots['target'], self.heads
    )
    weights = {
      'ce_weight': self._weigh(
        slots['modality'], slots['trainable'], self.heads
      ),
      'emd_weight': ordinal * self._config.loss.emd_weight,
    }
    return {**batch, 'decoder': slots | weights}

  def loss(
    self, params: Params, extra: Any, batch: Batch, key: Key
  ) -> tuple[jax.Array, tuple[Metrics, Any]]:
    """Computes the loss of a batch.

    Args:
      params: parameters of the backbone.
      extra: no arrays; returned as it is.
      batch: batch of `weigh`, arrays [B, ...].
      key: not used: tokens are chosen on the host, nothing is random here.

    Returns:
      The sum over weighed targets of cross-entropy (nats) and ordinal
      distance; the metrics with both apart for every modality, and `extra`.
    """
    del key
    outputs = cast(jax.Array, self.backbone.apply({'params': params}, batch))
    slots = {name: jnp.ravel(x) for name, x in batch['decoder'].items()}
    loss, sums = grouped_losses.grouped_cross_entropy(
      outputs.reshape(-1, outputs.shape[-1]),
      slots['modality'],
      slots['target'],
      slots['ce_weight'],
      slots['emd_weight'],
      self.backbone.output_tables(params),
      self.heads,
    )
    metrics = {f'loss/{name}': part['ce'] for name, part in sums.items()}
    metrics |= {
      f'emd/{head.name}': sums[head.name]['emd']
      for head in self.heads
      if head.num_values
    }
    return loss, (metrics, extra)

  def source(self, split: str) -> pipelines.Opened:
    """Returns the examples of a split, such as 'train' or 'val'.

    Of a mixture these are the examples of all parts.

    Raises:
      ValueError: if the data set holds codes of other tokenizers.
    """
    stored_codes.check(self._data_dir, self.assembly.codes)
    return pipelines.open_source(self._data_dir, split, self.modalities)

  def batches(self, split: str) -> grain.DatasetIterator:
    """Returns batches of this process's share of a split.

    Args:
      split: 'train' for endless shuffled batches. Any other split has every
        example once, cropped at the centre and always with the same tokens
        hidden, see `pipelines.eval_batches`.
    """
    return self._batches(self.source(split), train=split == 'train')

  def validation(self) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Returns what gives one pass over the validation split.

    Returns:
      {name of a part of a mixture: function without arguments to batches as
      `batches` gives them}; the name is '' where the data are no mixture.
    """
    source = self.source('val')
    parts = source.parts if isinstance(source, mixtures.Mixture) else None
    return {
      name: lambda part=part: self._batches(part, train=False)
      for name, part in (parts or {'': source}).items()
    }

  def _batches(self, source: Source, *, train: bool) -> grain.DatasetIterator:
    """Returns batches of this process's share of a source, see `batches`."""
    config, assembly = self._config, self.assembly
    steps = (
      stored_codes.StoredCodes(assembly.codes),
      *pretrain_transforms.pretraining(
        self.modalities,
        image_size=config.image_size,
        mixture=assembly_lib.make_mixture(config),
        quantizers=assembly.bins,
        tokenizer=assembly.tokenizer,
        standards=assembly.standards,
        num_slots=(config.slots.encoder, config.slots.decoder),
        keep=config.keep,
        word_dropout=config.word_dropout,
        train=train,
      ),
    )
    batches = pipelines.train_batches if train else pipelines.eval_batches
    return batches(
      source, steps, batch_size=config.batch_size, seed=config.seed
    )

  def flops(self, batch: Batch) -> float:
    """Returns the model FLOPs of a training step on a batch."""
    return costs.training_flops(self.backbone, batch)

  def showing(
    self, inputs: tuple[str, ...]
  ) -> tuple[grain.transforms.Map, ...]:
    """Returns the transforms from an example to slots that show `inputs` whole.

    Args:
      inputs: names of the modalities that the encoder sees without masking.
    """
    return self.assembly.showing(inputs)
