"""Builds the pixel encoder with the scaling of its pixels and its classes."""

import dataclasses

from fusion_jax.assembly import pixel_layout
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.models import pixel_encoder
from fusion_jax.nn import pooling
from fusion_jax.types import Config, Statistics


@dataclasses.dataclass(frozen=True)
class PixelAssembly:
  """A pixel encoder together with what goes in and comes out.

  Attributes:
    encoder: the pixel encoder.
    scale: transform that brings reflectance to [0, 1].
    setting: time steps of the year that it was trained on: 'monthly',
      'quarterly' or 'single'.
    label: label that it classifies, such as 'land_cover'; '' if it has no
      classifier.
    classes: names of the label's classes, in the order of its values; () if it
      has no classifier.
    pool: pooling of the photos of a place; None if it was trained without
      photos.
  """

  encoder: pixel_encoder.PixelEncoder
  scale: pixel_transforms.Scale
  setting: str
  label: str
  classes: tuple[str, ...]
  pool: pooling.ViewPool | None


def assemble(config: Config, statistics: Statistics) -> PixelAssembly:
  """Builds a pixel encoder.

  Args:
    config: configuration with the task 'align_pixels', 'classify_pixels' or
      'pixel_encoder' (a converted encoder), up to date.
    statistics: statistics of the training data. If these have 'classes',
      {label: names}, a classifier has these classes, else those of
      `data.labels`.

  Raises:
    ValueError: if the label of a classifier does not exist.
  """
  supervised = config.task == 'classify_pixels'
  return PixelAssembly(
    encoder=pixel_layout.make(config.model),
    scale=pixel_transforms.Scale(config.scaling, tuple(config.missing_bands)),
    setting=config.setting if supervised else 'monthly',
    label=config.label if supervised else '',
    classes=tuple(pixel_transforms.class_names(statistics, config.label))
    if supervised
    else (),
    pool=pooling.ViewPool(**config.pool)
    if config.task == 'align_pixels'
    else None,
  )
