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
    lambda: pixel_encoder.init(encoder, jax.random.key(0))
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def macs(encoder, steps=12, whole=True):
  """Multiply-adds of one sample of `steps` time steps.

  Args:
    encoder: `PixelEncoder`.
    steps: T, of the calendar: 12, 4 or 1.
    whole: count every token in every layer, as the paper's table does; else
      what is computed here: in the last layer only the class token, and the
      first layer by factors where it attends so.
  """
  width, tokens = encoder.width, steps + 1
  head = width * encoder.output_width
  mlp = 2 * width * encoder.hidden
  token = 4 * width**2 + mlp
  layer = tokens * (token + 2 * tokens * width)
  bands = encoder.num_bands * encoder.side**2
  if whole:
    return steps * bands * width + encoder.depth * layer + head
  positions = steps + 1 if steps > 1 else 1  # Of the steps, and their mean.
  features = bands + positions + 1  # The class token.
  # The one query looks at whole tokens with every head.
  last = token + 2 * encoder.num_heads * tokens * width
  others = layer * (encoder.depth - 1)
  if encoder.depth > 1 and encoder.attends_by_factors(features):
    # Looks, scores and sums as wide as the features and a 1, then the output.
    looks = encoder.num_heads * (features + 1)
    others += (
      tokens * (looks * (features + 1 + 2 * tokens + width) + mlp) - layer
    )
  return tokens * features * width + others + last + head
