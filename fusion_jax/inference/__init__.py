"""Trained models, ready to use: `fusion_jax.load(workdir)`.

Each carries its configuration, its tokenizers and its statistics, so nothing
else has to be known to use it.
"""

from fusion_jax.assembly import upgrade
from fusion_jax.data import normalize
from fusion_jax.inference import (
  backbone_model,
  clip_model,
  encoder_model,
  image_codec,
  pixel_model,
  series_codec,
)
from fusion_jax.tasks import pretrain, series_tokenizer
from fusion_jax.train import checkpoint


def load(workdir, which='last'):
  """Loads what a run or `fusion_jax.convert` left behind.

  Args:
    workdir: of the run: its checkpoints and `statistics.json`.
    which: 'last', 'best' or a step.

  Returns:
    `backbone_model.Model` of a run of `configs/pretrain.py` or a converted
    backbone;
    `encoder_model.EncoderModel` of a converted encoder;
    `image_codec.ImageCodec` of an image tokenizer, trained or converted;
    `series_codec.SeriesCodec` of a run of `configs/series_tokenizer.py`;
    `clip_model.ClipModel` of a converted CLIP;
    `pixel_model.PixelModel` of a run of `configs/align_pixels.py` or a
    converted encoder of pixels.

  Raises:
    checkpoint.CheckpointError: if there is no such checkpoint, or it is
      damaged.
    ValueError: if it is a checkpoint of another task.
    FileNotFoundError: if the statistics are missing.
  """
  params, metadata = checkpoint.restore_params(workdir, which)
  config = upgrade.upgrade(metadata['config'], str(workdir))
  return _LOADERS[config.task](config, params, workdir)


def _load_backbone(config, params, workdir):
  config.init_from = ''  # What it started from need not be here.
  return backbone_model.Model(
    config, params, pretrain.Pretrain(config, workdir)
  )


def _load_encoder(config, params, workdir):
  return encoder_model.EncoderModel(
    config, params, pretrain.find_tokenizer(workdir)
  )


def _load_clip(config, params, _):
  return clip_model.ClipModel(config, params)


def _load_pixels(config, params, workdir):
  return pixel_model.PixelModel(
    config, params, normalize.load_statistics(workdir)
  )


def _load_tokenizer(config, params, _):
  return image_codec.ImageCodec(config, params)


def _load_series_tokenizer(config, params, workdir):
  return series_codec.SeriesCodec(
    config, params, series_tokenizer.SeriesTokenizer(config, workdir)
  )


_LOADERS = {
  'image_tokenizer': _load_tokenizer,
  'series_tokenizer': _load_series_tokenizer,
  'pretrain': _load_backbone,
  'encoder': _load_encoder,
  'clip': _load_clip,
  'pixel_encoder': _load_pixels,
  'align_pixels': _load_pixels,
  'classify_pixels': _load_pixels,
}
