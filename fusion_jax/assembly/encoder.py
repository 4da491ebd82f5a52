"""Builds the encoder alone, as converted from a published file."""

import dataclasses

from fusion_jax import modalities as modality_table
from fusion_jax.models import encoder
from fusion_jax.types import Config


def make_model(config: Config) -> encoder.Encoder:
  """Returns the encoder that a configuration describes, without parameters.

  Args:
    config: configuration with the task 'encoder', as `fusion_jax.convert`
      writes it.
  """
  selected = modality_table.select(config.modalities, config.image_size)
  selected = tuple(
    dataclasses.replace(m, vocab_size=config.coords_vocab_size)
    if m.kind == 'text'
    else m
    for m in selected
  )
  return encoder.Encoder(
    selected, image_size=config.image_size, merge=config.merge, **config.model
  )
