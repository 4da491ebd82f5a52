"""Masked modelling of images, places and weather: any from any other.

Source: the fusion paper, Sec. 3.3; what its code base does where the two
differ is decided in configs/pretrain.py.
"""

import dataclasses
import pathlib

import jax.numpy as jnp

from fusion_jax import modalities
from fusion_jax.data import budgets, normalize, pipelines
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.data.transforms import stored_codes
from fusion_jax.models import (
  backbone,
  coordinate_tokenizer,
  costs,
  series_codes,
)
from fusion_jax.ops import losses

VOCABULARY = 'coords_tokenizer.json'  # In a folder of weights or data.
_WEIGHTS = {'mod': losses.modality_weights, 'token': losses.token_weights}


class Pretrain:
  """The task of `configs/pretrain.py`; see train/loop.py for its methods.

  Attributes:
    modalities: of the model, sorted by name.
    backbone: the model.
    heads: `losses.Head` of every modality that is predicted.
    tokenizer: of coordinates.
    quantizers: {series: Quantizer}, fitted on the training split; of
      `config.series_codes` the learned `SeriesCodes`.
    statistics: of the training split, as stored with the data.
  """

  def __init__(self, config, data_dir):
    """Builds the model and checks the configuration; reads no examples.

    Args:
      config: of configs/pretrain.py.
      data_dir: folder of the prepared data set. A `coords_tokenizer.json` in
        `config.init_from` or in it replaces our own vocabulary of coordinates;
        the tokenizers of `config.series_codes` stand in it.

    Raises:
      ValueError: for a modality, a weighting or a quantizer that does not
        exist, statistics without one of the modalities, or a tokenizer with
        another number of codes than configured.
      FileNotFoundError: if a tokenizer is missing.
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
    self._data_dir = data_dir
    self.backbone = make_backbone(config)
    self.modalities = self.backbone.modalities
    self.heads = self.backbone.heads
    self.tokenizer = find_tokenizer(config.init_from, data_dir)
    if self.tokenizer.num_words > config.coords_vocab_size:
      raise ValueError(
        f'config.coords_vocab_size={config.coords_vocab_size} has no room '
        f'for the {self.tokenizer.num_words} words of the coordinate '
        'tokenizer; set it to that, or to 30000.'
      )
    self.statistics = normalize.load_statistics(data_dir)
    self._codes = find_codes(config, data_dir)
    self._bins = normalize.quantizers(
      [m for m in self.modalities if m.name not in self._codes],
      self.statistics,
      config.quantizer,
    )
    self.quantizers = self._bins | self._codes
    self._standards = make_standards(
      config.standardise, self.modalities, self.statistics
    )
    self._weigh = _WEIGHTS[config.loss.weighting]

  @property
  def tokens_per_step(self):
    """Input and target slots of a global batch."""
    return self._config.batch_size * sum(self._config.slots.values())

  def keep(self, workdir):
    """Writes what using the model needs, besides its statistics.

    Raises:
      ValueError: if the run began with codes of another tokenizer.
    """
    self.tokenizer.save(workdir / VOCABULARY)
    for tokenizer in self._codes.values():
      series_codes.keep(tokenizer, workdir)

  def init(self, key, batch):
    """Fresh parameters; no other arrays."""
    return self.backbone.init(key, batch)['params'], {}

  def weigh(self, batch):
    """Adds the weight of every target, from counts over the whole batch."""
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
    return batch | {'decoder': slots | weights}

  def loss(self, params, extra, batch, key):
    """Sum over weighed targets; cross-entropy and ordinal distance apart."""
    del key  # Nothing is random: tokens are chosen on the host.
    outputs = self.backbone.apply({'params': params}, batch)
    slots = {name: jnp.ravel(x) for name, x in batch['decoder'].items()}
    loss, sums = losses.grouped_cross_entropy(
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

  def source(self, split):
    """The examples of a split: `len`, and `[i]`."""
    stored_codes.check(pathlib.Path(self._data_dir), self._codes)
    return pipelines.open_source(self._data_dir, split, self.modalities)

  def batches(self, split):
    """Batches of this process's share: endless and shuffled for 'train'.

    Of any other split every example once, cropped at the centre and always
    with the same tokens hidden, see `pipelines.eval_batches`.
    """
    config = self._config
    train = split == 'train'
    steps = (
      stored_codes.StoredCodes(self._codes),
      *pretrain_transforms.pretraining(
        self.modalities,
        image_size=config.image_size,
        mixture=make_mixture(config),
        quantizers=self._bins,
        tokenizer=self.tokenizer,
        standards=self._standards,
        num_inputs=config.slots.encoder,
        num_targets=config.slots.decoder,
        keep=config.keep,
        word_dropout=config.word_dropout,
        train=train,
      ),
    )
    batches = pipelines.train_batches if train else pipelines.eval_batches
    return batches(
      self.source(split), steps, batch_size=config.batch_size, seed=config.seed
    )

  def flops(self, batch):
    """Model FLOPs of a training step on a batch."""
    return costs.training_flops(self.backbone, batch)

  def showing(self, inputs):
    """Transforms from an example to encoder slots that show `inputs` whole."""
    return stored_codes.StoredCodes(self._codes), *pretrain_transforms.showing(
      self.modalities,
      inputs,
      image_size=self._config.image_size,
      quantizers=self._bins,
      tokenizer=self.tokenizer,
      standards=self._standards,
    )


def make_backbone(config):
  """The model that a configuration describes.

  A modality without alphas, (), has no embedding on that side.
  """
  settings = dict(config.model, dtype=jnp.dtype(config.model.dtype))
  selected = modalities.select(config.modalities.keys(), config.image_size)
  sides = {
    modalities.get(name).name: alphas
    for name, alphas in config.modalities.items()
  }
  selected = tuple(
    dataclasses.replace(
      m,
      vocab_size=_vocab_size(m, config),
      ordered=m.name not in config.series_codes,
      seen=bool(sides[m.name].input_alphas),
      predicted=bool(sides[m.name].target_alphas),
    )
    for m in selected
  )
  return backbone.Backbone(selected, image_size=config.image_size, **settings)


def _vocab_size(modality, config):
  if modality.kind == 'text':
    return config.coords_vocab_size
  if modality.name in config.series_codes:
    return modalities.VALUE_OFFSET + config.num_series_codes
  return modality.vocab_size


def find_codes(config, folder):
  """{series: `SeriesCodes`} of `config.series_codes`, kept in a folder.

  Raises:
    ValueError: if one is no series of the model, or has not
      `config.num_series_codes` codes.
    FileNotFoundError: if one is missing.
  """
  found = {}
  for name in config.series_codes:
    if name not in config.modalities or not modalities.get(name).leads:
      raise ValueError(
        f'config.series_codes names {name!r}, which is no '
        f'series of {sorted(config.modalities)}.'
      )
    found[name] = series_codes.load(folder, name)
    number = found[name].vocab_size - modalities.VALUE_OFFSET
    if number != config.num_series_codes:
      raise ValueError(
        f'The tokenizer of {name} in {folder} has {number} codes; set '
        f'config.num_series_codes={config.num_series_codes} to that.'
      )
  return found


def make_standards(scheme, selected, statistics):
  """Mean and standard deviation of raw bands, see `normalize.standards`.

  Args:
    scheme: 'terramind', its own, which its weights need; or 'data', those of
      the training split.
    selected: modalities.
    statistics: of the training split.

  Raises:
    ValueError: if `scheme` is neither.
  """
  if scheme not in ('terramind', 'data'):
    raise ValueError(
      f"config.standardise={scheme!r} is neither 'terramind' nor 'data'."
    )
  return normalize.standards(selected, statistics if scheme == 'data' else None)


def make_mixture(config):
  """The mixture of Dirichlets that a configuration describes."""
  table = {
    modalities.get(name).name: alphas
    for name, alphas in config.modalities.items()
  }
  return budgets.Mixture(
    {name: alphas.input_alphas for name, alphas in table.items()},
    {name: alphas.target_alphas for name, alphas in table.items()},
    weights=config.mixture,
    num_inputs=(config.slots.encoder,) * 2,
    num_targets=(config.slots.decoder,) * 2,
  )


def find_tokenizer(*folders):
  """The tokenizer of coordinates in the first folder that has one, or ours.

  Args:
    *folders: '' for none.
  """
  for folder in filter(None, folders):
    path = pathlib.Path(folder) / VOCABULARY
    if path.exists():
      return coordinate_tokenizer.load(path)
  return coordinate_tokenizer.build()
