"""Trained models, ready to use: `fusion_jax.load(folder)`.

Each carries its configuration, its tokenizers and its statistics, so nothing
else has to be known to use it.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from absl import logging

from fusion_jax.assembly import backbone as backbone_assembly
from fusion_jax.assembly import provenance, upgrade
from fusion_jax.assembly import series_tokenizer as series_assembly
from fusion_jax.data import normalize
from fusion_jax.inference.backbone_model import BackboneModel
from fusion_jax.inference.clip_model import ClipModel
from fusion_jax.inference.encoder_model import EncoderModel
from fusion_jax.inference.image_codec import ImageCodec
from fusion_jax.inference.pixel_model import PixelModel
from fusion_jax.inference.series_codec import SeriesCodec
from fusion_jax.inference.trained import TrainingRanges
from fusion_jax.train import checkpoint
from fusion_jax.types import Config, Params

Model = (
  BackboneModel
  | EncoderModel
  | ImageCodec
  | SeriesCodec
  | PixelModel
  | ClipModel
)

AnyModel = TypeVar('AnyModel', bound=Model)


def load(folder: str | os.PathLike[str], which: str | int = 'last') -> Model:
  """Loads what a run or `fusion_jax.convert` left behind.

  Args:
    folder: work directory of a run, or folder that `fusion_jax.convert` wrote:
      it holds checkpoints and `statistics.json`.
    which: which checkpoint: 'last', 'best' or the number of a step.

  Returns:
    `BackboneModel` for a run of `configs/pretrain.py` or a converted backbone;
    `EncoderModel` for a converted encoder;
    `ImageCodec` for an image tokenizer, trained or converted;
    `SeriesCodec` for a run of `configs/series_tokenizer.py`;
    `PixelModel` for a run of `configs/align_pixels.py` or
    `configs/worldcereal.py`, or a converted pixel encoder;
    `ClipModel` for a converted CLIP.

  Raises:
    checkpoint.CheckpointError: if there is no such checkpoint, or it is
      damaged.
    ValueError: if its task is unknown, or this version cannot use it any more.
    FileNotFoundError: if the statistics are missing.
  """
  params, metadata = checkpoint.restore_params(folder, which)
  config = upgrade.upgrade(metadata['config'], str(folder))
  model = _LOADERS[config.task](config, params, folder)
  model.trained_on = provenance.describe(folder, config, metadata)
  model.ranges = TrainingRanges.read(folder)
  logging.info('%s: a %s %s.', folder, type(model).__name__, model.trained_on)
  return model


def load_as(
  kind: type[AnyModel],
  folder: str | os.PathLike[str],
  which: str | int = 'last',
  use: str = 'this',
) -> AnyModel:
  """Loads a model that must be of one kind, see `load`.

  Args:
    kind: class of the model, such as `ClipModel`.
    folder: folder of the model.
    which: which checkpoint: 'last', 'best' or the number of a step.
    use: what needs the model, as the subject of a sentence: 'a map'.

  Raises:
    ValueError: if the folder holds a model of another kind; see also `load`.
  """
  model = load(folder, which)
  if not isinstance(model, kind):
    raise wrong_kind(folder, model, use, kind)
  return model


def wrong_kind(
  folder: str | os.PathLike[str], model: Any, use: str, *needed: type
) -> ValueError:
  """Returns the error of a model that is of another kind than needed.

  Args:
    folder: folder of the model.
    model: what it holds.
    use: what needs another one, as the subject of a sentence: 'a map'.
    *needed: classes of models, one of which is needed.
  """
  found, _ = _KINDS.get(type(model), (f'a {type(model).__name__}', ''))
  names = ' or '.join(_KINDS[kind][0] for kind in needed)
  origins = ', or '.join(_KINDS[kind][1] for kind in needed)
  return ValueError(
    f'{folder} holds {found}; {use} needs {names}. Name the folder of '
    f'{origins}.'
  )


def _load_backbone(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> BackboneModel:
  assembly = backbone_assembly.assemble(config, folder)
  return BackboneModel(config, params, assembly)


def _load_encoder(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> EncoderModel:
  tokenizer = backbone_assembly.find_tokenizer(folder)
  return EncoderModel(config, params, tokenizer)


def _load_image_tokenizer(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> ImageCodec:
  del folder  # Configuration and parameters are the whole tokenizer.
  return ImageCodec(config, params)


def _load_series_tokenizer(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> SeriesCodec:
  assembly = series_assembly.assemble(config, folder)
  return SeriesCodec(config, params, assembly)


def _load_pixels(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> PixelModel:
  return PixelModel(config, params, normalize.load_statistics(folder))


def _load_clip(
  config: Config, params: Params, folder: str | os.PathLike[str]
) -> ClipModel:
  del folder  # Configuration and parameters are the whole model.
  return ClipModel(config, params)


_LOADERS: dict[
  str, Callable[[Config, Params, str | os.PathLike[str]], Model]
] = {
  'pretrain': _load_backbone,
  'encoder': _load_encoder,
  'image_tokenizer': _load_image_tokenizer,
  'series_tokenizer': _load_series_tokenizer,
  'align_pixels': _load_pixels,
  'classify_pixels': _load_pixels,
  'pixel_encoder': _load_pixels,
  'clip': _load_clip,
}
_KINDS: dict[type, tuple[str, str]] = {  # {class: (its name, its origin)}.
  BackboneModel: (
    'a backbone of images and weather',
    'a run of configs/pretrain.py, or of a converted backbone',
  ),
  EncoderModel: ('an encoder of images', 'a converted encoder of TerraMind'),
  ImageCodec: (
    'a tokenizer of images',
    'a run of configs/image_tokenizer.py, or of a converted tokenizer',
  ),
  SeriesCodec: (
    'a tokenizer of series',
    'a run of configs/series_tokenizer.py',
  ),
  PixelModel: (
    'a pixel encoder',
    'a run of configs/align_pixels.py or configs/worldcereal.py, or of a '
    'converted encoder of pixels',
  ),
  ClipModel: ('a CLIP', 'a converted CLIP (fusion-jax convert clip)'),
}
