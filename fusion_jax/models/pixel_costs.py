"""What the pixel encoder costs: parameters and multiply-adds.

Matrix products only; biases, norms and softmax are not counted. In the
paper's size 8,169,472 parameters and 103,598,080 multiply-adds a pixel.
"""

import math

import jax

from fusion_jax.models import pixel_encoder


def num_parameters(encoder):
  """Parameters of a `PixelEncoder`."""
  shapes = jax.eval_shape(
      lambda: pixel_encoder.init(encoder, jax.random.key(0)))
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def macs(encoder, steps=12, whole=True):
  """Multiply-adds of one sample of `steps` time steps.

  Args:
    encoder: `PixelEncoder`.
    steps: T.
    whole: count every token in every layer, as the paper's table does; else
      what is computed here: in the last layer only the class token.
  """
  width, tokens = encoder.width, steps + 1
  embed = steps * encoder.num_bands * encoder.side**2 * width
  head = width * encoder.output_width
  token = 4 * width**2 + 2 * width * encoder.hidden  # Its maps, and the MLP.
  layer = tokens * (token + 2 * tokens * width)
  # The one query looks at whole tokens with every head.
  last = layer if whole else token + 2 * encoder.num_heads * tokens * width
  return embed + (encoder.depth - 1) * layer + last + head
