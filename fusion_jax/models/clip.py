"""CLIP: an image and a text tower that share one space of vectors.

Source: Radford et al. 2021, arXiv:2103.00020; layout of OpenAI's code. The
defaults are those of ViT-B/32, with 151,277,313 parameters. Weights come from
`convert clip`.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax.models import clip_towers
from fusion_jax.types import Array

INITIAL_LOG_SCALE = math.log(1 / 0.07)  # Logarithm of 1 / temperature.


class Clip(nn.Module):
  """CLIP's image and text towers.

  Initial weights are Xavier's for linear maps and OpenAI's normal distributions
  for tables and projections; no run of this library trains CLIP from them.

  Attributes:
    activation: 'quick_gelu' or 'gelu', the one that the weights were trained
      with. Nothing in the weights tells which; the wrong one makes results
      worse without an error.
    width: E, width of the shared space.
    image_size: pixels per side of an image.
    patch: pixels per side of a patch; must divide `image_size`.
    vision_width: width of the image tower.
    vision_depth: number of layers of the image tower.
    vision_heads: heads of the image tower; must divide `vision_width`.
    vocab_size: number of token ids; the highest id ends a text.
    context: largest number of tokens of a text, start and end included.
    text_width: width of the text tower.
    text_depth: number of layers of the text tower.
    text_heads: heads of the text tower; must divide `text_width`.
    dtype: data type of the computation.
    unroll: layers per iteration of the loop over layers.
  """

  activation: str
  width: int = 512
  image_size: int = 224
  patch: int = 32
  vision_width: int = 768
  vision_depth: int = 12
  vision_heads: int = 12
  vocab_size: int = 49_408
  context: int = 77
  text_width: int = 512
  text_depth: int = 12
  text_heads: int = 8
  dtype: DTypeLike = jnp.float32
  unroll: int = 1

  def __post_init__(self) -> None:
    super().__post_init__()
    if self.activation not in clip_towers.ACTIVATIONS:
      raise ValueError(
        f'activation={self.activation!r} is none of '
        f'{sorted(clip_towers.ACTIVATIONS)}.'
      )
    for name, whole, part in (
      ('vision_heads', self.vision_width, self.vision_heads),
      ('text_heads', self.text_width, self.text_heads),
      ('patch', self.image_size, self.patch),
    ):
      if whole % part:
        raise ValueError(f'{name}={part} does not divide {whole}.')

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.vision = clip_towers.VisionTower(
      self.width,
      self.image_size,
      self.patch,
      self.vision_width,
      self.vision_depth,
      self.vision_heads,
      self.activation,
      self.dtype,
      self.unroll,
    )
    self.text = clip_towers.TextTower(
      self.width,
      self.vocab_size,
      self.context,
      self.text_width,
      self.text_depth,
      self.text_heads,
      self.activation,
      self.dtype,
      self.unroll,
    )
    self.log_scale = self.param(
      'log_scale', nn.initializers.constant(INITIAL_LOG_SCALE), ()
    )

  def __call__(self, pixels: Array, ids: Array) -> jax.Array:
    """Returns cosine similarities of images and texts, times exp(log_scale).

    Args:
      pixels: [B, Y, X, 3] float, standardised.
      ids: int [M, N], tokens of texts.

    Returns:
      [B, M] float32, a row for every image and a column for every text.
    """
    images, texts = (
      x / jnp.linalg.norm(x, axis=-1, keepdims=True)
      for x in (self.embed_images(pixels), self.embed_texts(ids))
    )
    return jnp.exp(self.log_scale) * images @ texts.T

  def embed_images(self, pixels: Array) -> jax.Array:
    """Returns the vectors of images, not normalised to unit length.

    Args:
      pixels: [B, Y, X, 3] float, standardised; see data/clip_images.py.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if the images have another size.
    """
    return self.vision(pixels)

  def embed_texts(self, ids: Array) -> jax.Array:
    """Returns the vectors of texts, not normalised to unit length.

    Args:
      ids: int [B, N], N at most `context`; see models/clip_text.py. Ids after
        the end of a text have no influence.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if N is larger.
    """
    return self.text(ids)
