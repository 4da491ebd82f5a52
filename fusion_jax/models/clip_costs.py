"""What CLIP costs: parameters and multiply-adds of its towers.

Only matrix products are counted, not biases, norms and softmax. ViT-B/32 needs
4.409 G multiply-adds for an image and 2.980 G for a text of 77 tokens, and has
151,277,313 parameters.
"""

import math

import jax
import numpy as np

from fusion_jax.models import clip


def num_parameters(model: clip.Clip) -> int:
  """Returns the number of parameters of both towers and the temperature."""
  side, context = model.image_size, model.context
  shapes = jax.eval_shape(
    model.init,
    jax.random.key(0),
    np.zeros((1, side, side, 3), np.float32),
    np.zeros((1, context), np.int32),
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def image_macs(model: clip.Clip) -> int:
  """Returns the multiply-adds of one image.

  These are those of the patches, the blocks and the projection of one token.
  """
  num_patches = (model.image_size // model.patch) ** 2
  embed = num_patches * 3 * model.patch**2 * model.vision_width
  return (
    embed
    + model.vision_width * model.width
    + _blocks(num_patches + 1, model.vision_width, model.vision_depth)
  )


def text_macs(model: clip.Clip) -> int:
  """Returns the multiply-adds of one text of full length.

  These are those of the blocks and the projection of one token.
  """
  return model.text_width * model.width + _blocks(
    model.context, model.text_width, model.text_depth
  )


def _blocks(num_tokens: int, width: int, depth: int) -> int:
  """Multiply-adds of blocks with the four maps and two products of attention.

  The MLP of each block has a hidden layer of width 4 D.
  """
  return depth * num_tokens * (12 * width**2 + 2 * num_tokens * width)
