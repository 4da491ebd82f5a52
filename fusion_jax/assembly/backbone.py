"""Builds the masked encoder-decoder with everything its inputs pass through."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import jax.numpy as jnp

from fusion_jax import modalities as modality_table
from fusion_jax.data import budgets, normalize
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.data.transforms import steps as steps_lib
from fusion_jax.data.transforms import stored_codes
from fusion_jax.models import coordinate_tokenizer, series_codes
from fusion_jax.models.backbone import Backbone
from fusion_jax.ops import losses, quantize
from fusion_jax.types import Config, Standards, Statistics

# File of the coordinate tokenizer in a folder of weights, of a run or of data.
VOCABULARY = 'coords_tokenizer.json'


@dataclasses.dataclass(frozen=True)
class BackboneAssembly:
  """A backbone together with what turns raw data into its inputs.

  Attributes:
    backbone: the masked encoder-decoder.
    image_size: pixels per side of the images that it sees.
    statistics: statistics of the training split, as stored with the data.
    tokenizer: tokenizer of coordinates.
    bins: value bins of the series that are read as binned values, by name.
    codes: learned codes of the series of `config.series_codes`, by name.
    standards: mean and standard deviation of the bands of raw images, by
      modality.
  """

  backbone: Backbone
  image_size: int
  statistics: Statistics
  tokenizer: coordinate_tokenizer.CoordinateTokenizer
  bins: Mapping[str, quantize.Quantizer]
  codes: Mapping[str, series_codes.SeriesCodes]
  standards: Standards

  @property
  def modalities(self) -> tuple[modality_table.Modality, ...]:
    """Returns the modalities of the model, sorted by name."""
    return self.backbone.modalities

  @property
  def heads(self) -> tuple[losses.Head, ...]:
    """Returns the output head of every modality that is predicted."""
    return self.backbone.heads

  @property
  def quantizers(
    self,
  ) -> Mapping[str, quantize.Quantizer | series_codes.SeriesCodes]:
    """Returns what encodes and decodes the values of each series, by name."""
    return {**self.bins, **self.codes}

  def showing(self, inputs: Sequence[str]) -> tuple[steps_lib.Map, ...]:
    """Returns the transforms that show whole inputs to the encoder.

    Args:
      inputs: names of the modalities that the encoder sees without masking.

    Returns:
      Transforms, in order, from an example of a data set to one with the slots
      of the encoder under 'encoder'.
    """
    return (
      stored_codes.StoredCodes(self.codes),
      *pretrain_transforms.showing(
        self.modalities,
        inputs,
        image_size=self.image_size,
        quantizers=self.bins,
        tokenizer=self.tokenizer,
        standards=self.standards,
      ),
    )


def assemble(
  config: Config,
  folder: str | os.PathLike[str],
  init_from: str | os.PathLike[str] = '',
) -> BackboneAssembly:
  """Builds a backbone and reads what goes with it.

  Args:
    config: configuration with the task 'pretrain', up to date.
    folder: folder of the prepared data set or of a finished run, with
      `statistics.json`, the tokenizers of `config.series_codes` and, if it is
      not our own, the vocabulary of coordinates.
    init_from: folder of the weights that a run starts from, whose vocabulary of
      coordinates comes first; '' for none.

  Raises:
    ValueError: if a modality or quantizer does not exist, the statistics lack
      one of the modalities, or a tokenizer has another number of codes than
      configured.
    FileNotFoundError: if the statistics or a tokenizer are missing.
  """
  model = make_model(config)
  tokenizer = find_tokenizer(init_from, folder)
  if tokenizer.num_words > config.coords_vocab_size:
    raise ValueError(
      f'config.coords_vocab_size={config.coords_vocab_size} has no room '
      f'for the {tokenizer.num_words} words of the coordinate '
      'tokenizer; set it to that, or to 30000.'
    )
  statistics = normalize.load_statistics(folder)
  codes = load_codes(config, folder)
  return BackboneAssembly(
    backbone=model,
    image_size=config.image_size,
    statistics=statistics,
    tokenizer=tokenizer,
    bins=normalize.quantizers(
      [m for m in model.modalities if m.name not in codes],
      statistics,
      config.quantizer,
    ),
    codes=codes,
    standards=make_standards(config.standardise, model.modalities, statistics),
  )


def make_model(config: Config) -> Backbone:
  """Returns the backbone that a configuration describes, without parameters.

  A modality without alphas, (), has no embedding on that side.

  Args:
    config: configuration with the task 'pretrain', up to date.
  """
  settings = dict(config.model, dtype=jnp.dtype(config.model.dtype))
  selected = modality_table.select(config.modalities.keys(), config.image_size)
  sides = {
    modality_table.get(name).name: alphas
    for name, alphas in config.modalities.items()
  }
  coded = set(config.series_codes)
  selected = tuple(
    dataclasses.replace(
      m,
      vocab_size=_vocab_size(m, config),
      ordered=m.name not in coded,
      seen=bool(sides[m.name].input_alphas),
      predicted=bool(sides[m.name].target_alphas),
    )
    for m in selected
  )
  return Backbone(selected, image_size=config.image_size, **settings)


def make_mixture(config: Config) -> budgets.Mixture:
  """Returns the mixture of Dirichlet distributions of a configuration."""
  table = {
    modality_table.get(name).name: alphas
    for name, alphas in config.modalities.items()
  }
  return budgets.Mixture(
    {name: alphas.input_alphas for name, alphas in table.items()},
    {name: alphas.target_alphas for name, alphas in table.items()},
    weights=config.mixture,
    num_inputs=(config.slots.encoder,) * 2,
    num_targets=(config.slots.decoder,) * 2,
  )


def make_standards(
  scheme: str,
  selected: Iterable[modality_table.Modality],
  statistics: Statistics,
) -> Standards:
  """Returns mean and standard deviation of the bands of raw images.

  Args:
    scheme: 'terramind' for TerraMind's own, which its weights need; 'data' for
      those of the training split.
    selected: modalities of the model.
    statistics: statistics of the training split.

  Raises:
    ValueError: if `scheme` is neither.
  """
  if scheme not in ('terramind', 'data'):
    raise ValueError(
      f"config.standardise={scheme!r} is neither 'terramind' nor 'data'."
    )
  return normalize.standards(selected, statistics if scheme == 'data' else None)


def find_tokenizer(
  *folders: str | os.PathLike[str],
) -> coordinate_tokenizer.CoordinateTokenizer:
  """Returns the coordinate tokenizer of the first folder that has one.

  Args:
    *folders: folders to look in, in this order; '' is skipped. If none has a
      tokenizer, our own is built.
  """
  for folder in filter(None, folders):
    path = pathlib.Path(folder) / VOCABULARY
    if path.exists():
      return coordinate_tokenizer.load(path)
  return coordinate_tokenizer.build()


def load_codes(
  config: Config, folder: str | os.PathLike[str]
) -> dict[str, series_codes.SeriesCodes]:
  """Returns the learned codes of `config.series_codes`, by series.

  Args:
    config: configuration with the task 'pretrain', up to date.
    folder: folder of a data set or of a run that holds the codes.

  Raises:
    ValueError: if a name is no series of the model, or its tokenizer does not
      have `config.num_series_codes` codes.
    FileNotFoundError: if a tokenizer is missing.
  """
  codes, names = {}, sorted(config.modalities)
  for name in config.series_codes:
    if name not in names or not modality_table.get(name).leads:
      raise ValueError(
        f'config.series_codes names {name!r}, which is no series of {names}.'
      )
    codes[name] = series_codes.load(folder, name)
    num_codes = codes[name].vocab_size - modality_table.VALUE_OFFSET
    if num_codes != config.num_series_codes:
      raise ValueError(
        f'The tokenizer of {name} in {folder} has {num_codes} codes; set '
        f'config.num_series_codes={config.num_series_codes} to that.'
      )
  return codes


def _vocab_size(modality: modality_table.Modality, config: Config) -> int:
  """Returns how many ids a modality has in the model of a configuration."""
  if modality.kind == 'text':
    return config.coords_vocab_size
  coded = set(config.series_codes)
  if modality.name in coded:
    return modality_table.VALUE_OFFSET + config.num_series_codes
  return modality.vocab_size
