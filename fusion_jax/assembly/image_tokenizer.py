"""Builds the tokenizer of an image modality with its standardisation."""

import dataclasses
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.models import image_tokenizer
from fusion_jax.types import Array, Config, Params


@dataclasses.dataclass(frozen=True)
class ImageAssembly:
  """An image tokenizer together with the standardisation of its images.

  Attributes:
    modality: modality of the tokens.
    model: the tokenizer.
    mean: mean of every band, in the sensor's unit.
    std: standard deviation of every band, in the sensor's unit.
  """

  modality: modalities.Modality
  model: image_tokenizer.ImageTokenizer | image_tokenizer.ClassTokenizer
  mean: tuple[float, ...]
  std: tuple[float, ...]

  @property
  def num_codes(self) -> int:
    """Returns the size of the codebook."""
    return self.model.fsq.num_codes

  @property
  def is_classes(self) -> bool:
    """Returns whether images hold classes instead of measured values."""
    return tile_transforms.is_classes(self.modality)

  @property
  def standardisation(self) -> tile_transforms.Standardise:
    """Returns the transform that standardises the image of an example."""
    return tile_transforms.Standardise(self.modality, self.mean, self.std)

  def standardise(self, images: np.ndarray) -> dict[str, np.ndarray]:
    """Standardises images.

    Args:
      images: [..., Y, X, C] in the sensor's unit, as stored.

    Returns:
      'image' [..., Y, X, C] in standard deviations from the mean, 0 where a
      value is missing; and 'present' [..., Y, X], where it is not.
    """
    return tile_transforms.standardise(
      images, self.modality, self.mean, self.std
    )

  def encode(self, params: Params, images: Array) -> Array:
    """Returns codes [B, y, x] int32 of standardised images [B, Y, X, C]."""
    codes = self.model.apply({'params': params}, images, method='encode')
    return cast(jax.Array, codes)

  def decode(
    self,
    params: Params,
    codes: Array,
    seeds: Array | None = None,
    num_steps: int = 1,
    clip: Array | float = jnp.inf,
  ) -> Array:
    """Decodes codes to standardised images.

    Args:
      params: parameters of the tokenizer.
      codes: [B, y, x] integer codes.
      seeds: [B] uint32 seeds of the noise that the diffusion starts with;
        classes need none.
      num_steps: steps of the diffusion (DDIM). At the first one the decoder
        sees noise alone, so a single step is its conditional mean given the
        codes, the best in mean squared error; more steps draw details instead.
      clip: bound of every pixel, in standard deviations; inf for none.

    Returns:
      [B, Y, X, C] standardised images; of classes [B, Y, X, 1], the most
      likely class.
    """
    if self.is_classes:
      logits = self.model.apply({'params': params}, codes, method='decode')
      return cast(jax.Array, logits).argmax(-1)[..., None]
    assert seeds is not None
    shape = (
      *(n * modalities.PATCH for n in codes.shape[1:]),
      len(self.modality.bands),
    )
    codes = self.model.fsq.from_indices(codes)
    images = self.model.apply(
      {'params': params},
      codes,
      draw_noise(seeds, shape),
      num_steps,
      clip,
      method='sample',
    )
    return cast(jax.Array, images)


def assemble(config: Config) -> ImageAssembly:
  """Builds an image tokenizer with the standardisation of its images.

  Args:
    config: configuration with the task 'image_tokenizer', up to date.

  Raises:
    ValueError: if the modality has no tokens, or the standardisation is of
      another number of bands.
  """
  modality = token_modality(config.modality)
  model = make_model(config)
  bands, standards = len(modality.bands), config.standards
  if {len(standards.mean), len(standards.std)} != {bands}:
    raise ValueError(
      f'config.standards has {len(standards.mean)} means and '
      f'{len(standards.std)} deviations for the {bands} bands of '
      f'{modality.field}.'
    )
  return ImageAssembly(
    modality, model, tuple(standards.mean), tuple(standards.std)
  )


def make_model(
  config: Config,
) -> image_tokenizer.ImageTokenizer | image_tokenizer.ClassTokenizer:
  """Returns the tokenizer that a configuration describes.

  Args:
    config: configuration with the task 'image_tokenizer', up to date.
  """
  settings: dict[str, Any] = {
    name: tuple(value) if isinstance(value, (list, tuple)) else value
    for name, value in config.model.items()
  }
  settings['dtype'] = jnp.dtype(config.model.dtype)
  return image_tokenizer.make(config.modality).clone(**settings)


def token_modality(name: str) -> modalities.Modality:
  """Returns the tokenised image modality of a sensor, such as 'S2L2A'.

  Raises:
    ValueError: if it has none.
  """
  modality = modalities.get(name, role='target')
  if modality.kind != 'tokens':
    raise ValueError(f'{name} has no image tokenizer.')
  return modality


def draw_noise(seeds: Array, shape: tuple[int, ...]) -> Array:
  """Returns standard normal noise [B, *shape], of one seed per example.

  Args:
    seeds: [B] uint32 seeds.
    shape: shape of the noise of one example.
  """
  return jax.vmap(lambda seed: jax.random.normal(jax.random.key(seed), shape))(
    seeds
  )
