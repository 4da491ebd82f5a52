"""What the pixel encoder costs: parameters and multiply-adds.

Only matrix products are counted, not biases, norms and softmax. In the
paper's size there are 8,169,472 parameters and 103,598,080 multiply-adds per
pixel.
"""

import math

import jax

from fusion_jax.models import pixel_encoder


def num_parameters(encoder: pixel_encoder.PixelEncoder) -> int:
  """Returns the number of parameters of an encoder."""
  shapes = jax.eval_shape(
    lambda: pixel_encoder.init(encoder, jax.random.key(0))
  )
  return sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))


def macs(
  encoder: pixel_encoder.PixelEncoder, steps: int = 12, whole: bool = True
) -> int:
  """Returns the multiply-adds of one sample.

  Args:
    encoder: the encoder.
    steps: T, number of time steps: 12, 4 or 1.
    whole: whether to count every token in every layer, as the paper's table
      does. False counts what is computed here: in the last layer only the
      class token, and the first layer by features where it is factored.
  """
  width, tokens = encoder.width, steps + 1
  head = width * encoder.output_width
  mlp = 2 * width * encoder.hidden
  token = 4 * width**2 + mlp
  layer = tokens * (token + 2 * tokens * width)
  pixels = encoder.num_bands * encoder.side**2
  if whole:
    return steps * pixels * width + encoder.depth * layer + head
  positions = steps + 1 if steps > 1 else 1  # Of the steps, and their mean.
  features = pixels + positions + 1  # The last one is that of the class token.
  # The only query attends to whole tokens with every head.
  last = token + 2 * encoder.num_heads * tokens * width
  others = layer * (encoder.depth - 1)
  if encoder.depth > 1 and encoder.is_factored(features):
    # Queries, scores and sums are as wide as the features and a constant 1.
    queries = encoder.num_heads * (features + 1)
    others += (
      tokens * (queries * (features + 1 + 2 * tokens + width) + mlp) - layer
    )
  return tokens * features * width + others + last + head
