"""CLIP: an image and a text tower that share one space of vectors.

Source: Radford et al. 2021, arXiv:2103.00020; layout of OpenAI's code. The
defaults are ViT-B/32, 151,277,313 parameters. Weights come from `convert clip`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax.nn import layers
from fusion_jax.ops import patches

INITIAL_LOG_SCALE = math.log(1 / 0.07)  # Of the temperature.


def quick_gelu(x):
  """x sigmoid(1.702 x), OpenAI's stand-in for the GELU."""
  return x * jax.nn.sigmoid(1.702 * x)


def gelu(x):
  """The exact (erf) GELU."""
  return jax.nn.gelu(x, approximate=False)


ACTIVATIONS = {'quick_gelu': quick_gelu, 'gelu': gelu}


class Clip(nn.Module):
  """Image and text towers.

  Initial weights are Xavier for linear maps and OpenAI's normal distributions
  for tables and projections; no run here trains CLIP from them.

  Attributes:
    activation: 'quick_gelu' or 'gelu', the one the weights were trained with;
      nothing in the weights tells, and the wrong one degrades them quietly.
    width: E, of the shared space.
    image_size: pixels a side.
    patch: pixels a side; must divide `image_size`.
    vision_width: of the image tower.
    vision_depth: its layers.
    vision_heads: must divide its width.
    vocab_size: of the text tower; the highest id ends a text.
    context: the most tokens of a text, start and end included.
    text_width: of the text tower.
    text_depth: its layers.
    text_heads: must divide its width.
    dtype: of the computation.
    unroll: layers a loop iteration.
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
  dtype: Any = jnp.float32
  unroll: int = 1

  def __post_init__(self):
    super().__post_init__()
    if self.activation not in ACTIVATIONS:
      raise ValueError(
        f'activation={self.activation!r} is none of {sorted(ACTIVATIONS)}.'
      )
    for name, whole, part in (
      ('vision_heads', self.vision_width, self.vision_heads),
      ('text_heads', self.text_width, self.text_heads),
      ('patch', self.image_size, self.patch),
    ):
      if whole % part:
        raise ValueError(f'{name}={part} does not divide {whole}.')

  def setup(self):
    self.vision = VisionTower(
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
    self.text = TextTower(
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

  def __call__(self, pixels, ids):
    """Cosines times exp(log_scale): a row an image, a column a text."""
    images, texts = (
      x / jnp.linalg.norm(x, axis=-1, keepdims=True)
      for x in (self.embed_images(pixels), self.embed_texts(ids))
    )
    return jnp.exp(self.log_scale) * images @ texts.T

  def embed_images(self, pixels):
    """Vectors of images, as projected: not of unit length.

    Args:
      pixels: [B, Y, X, 3] float, standardised; see data/clip_images.py.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if the images have another size.
    """
    return self.vision(pixels)

  def embed_texts(self, ids):
    """Vectors of texts, as projected: not of unit length.

    Args:
      ids: int [B, N], N at most `context`; see models/clip_text.py. What
        follows the end of a text is not seen.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if N is larger.
    """
    return self.text(ids)


class VisionTower(nn.Module):
  """Image tower. Attributes: as of `Clip`; width is of the tower itself."""

  out_width: int
  image_size: int
  patch: int
  width: int
  depth: int
  num_heads: int
  activation: str
  dtype: Any = jnp.float32
  unroll: int = 1

  def setup(self):
    scale = self.width**-0.5
    self.patches = layers.Linear(self.width, dtype=self.dtype)
    self.class_token = self.param(
      'class_token', nn.initializers.normal(scale), (self.width,)
    )
    self.positions = self.param(
      'positions',
      nn.initializers.normal(scale),
      ((self.image_size // self.patch) ** 2 + 1, self.width),
    )
    self.norm_in = layer_norm(self.dtype)
    self.encoder = layers.Stack(
      Block(self.width, self.num_heads, self.activation, self.dtype),
      self.depth,
      self.unroll,
    )
    self.norm_out = layer_norm(self.dtype)
    self.projection = self.param(
      'projection', nn.initializers.normal(scale), (self.width, self.out_width)
    )

  def __call__(self, pixels):
    """Standardised pixels [B, Y, X, 3] to vectors [B, E] float32."""
    tokens = self.embed(pixels)
    tokens = self.encoder(tokens, jnp.ones((1, 1, 1, tokens.shape[1]), bool))
    pooled = self.norm_out(tokens[:, 0])
    return _project(pooled, self.projection, self.dtype)

  def embed(self, pixels):
    """Input tokens of the first block, class token first, [B, N, D]."""
    batch, *shape = pixels.shape
    if shape != [self.image_size, self.image_size, 3]:
      raise ValueError(
        f'Images are {tuple(shape)}; this model takes '
        f'{(self.image_size, self.image_size, 3)}. Prepare them with '
        'data.clip_images.preprocess.'
      )
    content = self.patches(patches.patchify(pixels, self.patch))
    first = jnp.broadcast_to(
      self.class_token.astype(self.dtype)[None, None], (batch, 1, self.width)
    )
    tokens = jnp.concatenate([first, content], axis=1)
    return self.norm_in(tokens + self.positions.astype(self.dtype)[None])


class TextTower(nn.Module):
  """Text tower. Attributes: as of `Clip`; width is of the tower itself."""

  out_width: int
  vocab_size: int
  context: int
  width: int
  depth: int
  num_heads: int
  activation: str
  dtype: Any = jnp.float32
  unroll: int = 1

  def setup(self):
    self.table = self.param(
      'table', nn.initializers.normal(0.02), (self.vocab_size, self.width)
    )
    self.positions = self.param(
      'positions', nn.initializers.normal(0.01), (self.context, self.width)
    )
    self.encoder = layers.Stack(
      Block(self.width, self.num_heads, self.activation, self.dtype),
      self.depth,
      self.unroll,
    )
    self.norm_out = layer_norm(self.dtype)
    self.projection = self.param(
      'projection',
      nn.initializers.normal(self.width**-0.5),
      (self.width, self.out_width),
    )

  def __call__(self, ids):
    """Ids [B, N] to vectors [B, E] float32, read at the end of each text."""
    tokens = self.encode(ids)
    last = jnp.argmax(ids, axis=1)  # Its end has the highest id of all.
    pooled = jnp.take_along_axis(tokens, last[:, None, None], axis=1)[:, 0]
    return _project(pooled, self.projection, self.dtype)

  def encode(self, ids):
    """Normalised output of every token, [B, N, D]."""
    num_tokens = ids.shape[1]
    if num_tokens > self.context:
      raise ValueError(
        f'Texts of {num_tokens} tokens; this model takes at '
        f'most {self.context}.'
      )
    causal = jnp.tril(jnp.ones((num_tokens, num_tokens), bool))
    return self.norm_out(self.encoder(self.embed(ids), causal[None, None]))

  def embed(self, ids):
    """Input tokens of the first block, [B, N, D]."""
    tokens = jnp.take(self.table, ids, axis=0)
    return (tokens + self.positions[None, : ids.shape[1]]).astype(self.dtype)


class Block(nn.Module):
  """Pre-norm self-attention and MLP of hidden width 4 D, all with biases."""

  width: int
  num_heads: int
  activation: str
  dtype: Any = jnp.float32

  def setup(self):
    self.norm1 = layer_norm(self.dtype)
    self.attention = layers.SelfAttention(
      self.width, self.num_heads, True, self.dtype
    )
    self.norm2 = layer_norm(self.dtype)
    self.fc1 = layers.Linear(4 * self.width, True, dtype=self.dtype)
    self.fc2 = layers.Linear(self.width, True, dtype=self.dtype)

  def __call__(self, tokens, visible):
    """Tokens [B, N, D], visible bool [1, 1, N or 1, N]; returns [B, N, D]."""
    tokens += self.attention(self.norm1(tokens), visible)
    hidden = self.fc1(self.norm2(tokens))
    return tokens + self.fc2(ACTIVATIONS[self.activation](hidden))


def layer_norm(dtype):
  """CLIP's layer normalisation: scale and bias, statistics in float32."""
  return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False, dtype=dtype)


def _project(pooled, projection, dtype):
  return (pooled @ projection.astype(dtype)).astype(jnp.float32)
