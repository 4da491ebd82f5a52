"""What CLIP costs: parameters and multiply-adds of its towers.

Matrix products only; biases, norms and softmax are not counted. ViT-B/32:
4.409 G for an image, 2.980 G for a text of 77 tokens, 151,277,313 parameters.
"""

import math

import jax
import numpy as np


def num_parameters(model):
  """Parameters of a `Clip`, both towers and the temperature."""
  side, context = model.image_size, model.context
  shapes = jax.eval_shape(
    model.init,
    jax.random.key(0),
    np.zeros((1, side, side, 3), np.float32),
    np.zeros((1, context), np.int32),
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def image_macs(model):
  """Multiply-adds of one image: patches, blocks, projection of one token."""
  num_patches = (model.image_size // model.patch) ** 2
  embed = num_patches * 3 * model.patch**2 * model.vision_width
  return (
    embed
    + model.vision_width * model.width
    + _blocks(num_patches + 1, model.vision_width, model.vision_depth)
  )


def text_macs(model):
  """Multiply-adds of one text of full length: blocks and projection."""
  return model.text_width * model.width + _blocks(
    model.context, model.text_width, model.text_depth
  )


def _blocks(num_tokens, width, depth):
  """Four maps of attention, its two products, and an MLP of width 4 D."""
  return depth * num_tokens * (12 * width**2 + 2 * num_tokens * width)
