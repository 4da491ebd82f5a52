"""The FLOPs that image tokenizers need at least.

Only matrix products and convolutions are counted, with 2 FLOPs per
multiply-add. Training costs three times the forward pass.
"""

from fusion_jax.models import image_tokenizer
from fusion_jax.nn import unet


def encoding_flops(
  model: image_tokenizer.Tokenizer, height: int, width: int
) -> int:
  """Returns the FLOPs from an image of `height` x `width` pixels to its ids."""
  patch = image_tokenizer.PATCH
  tokens = height * width // patch**2
  pixels = patch**2 * model.channels
  latents = len(model.levels)
  return (
    2
    * tokens
    * (
      model.width * (pixels + latents)
      + _transformer(model, model.depth, tokens)
    )
  )


def decoding_flops(
  model: image_tokenizer.ClassTokenizer, height: int, width: int
) -> int:
  """Returns the FLOPs from the ids of one image to logits of its classes."""
  patch = image_tokenizer.PATCH
  tokens = height * width // patch**2
  pixels = patch**2 * model.channels
  latents = len(model.levels)
  return (
    2
    * tokens
    * (
      model.width * (pixels + latents)
      + _transformer(model, model.decoder_depth, tokens)
    )
  )


def denoising_flops(
  model: image_tokenizer.ImageTokenizer, height: int, width: int
) -> int:
  """Returns the FLOPs of one step of the UNet on one image."""
  decoder = model.unet
  parts = decoder.parts(len(model.levels))
  time = 4 * decoder.width
  products = decoder.width * time + time**2
  pixels = first = height * width // decoder.patch**2
  for block in parts['input'] + parts['middle'] + parts['output']:
    for part in block:
      if part.kind in ('down', 'up'):
        pixels = pixels // 4 if part.kind == 'down' else pixels * 4
      products += _part(part, pixels, time)
  finest = decoder.width * decoder.multipliers[0]
  out = 9 * finest * model.channels * decoder.patch**2
  return 2 * (products + first * out)


def training_flops(
  model: image_tokenizer.ImageTokenizer | image_tokenizer.ClassTokenizer,
  batch_size: int,
  height: int,
  width: int,
) -> int:
  """Returns the FLOPs of a training step on images of `height` x `width`."""
  if isinstance(model, image_tokenizer.ImageTokenizer):
    decoding = denoising_flops(model, height, width)
  else:
    decoding = decoding_flops(model, height, width)
  return 3 * batch_size * (encoding_flops(model, height, width) + decoding)


def _transformer(
  model: image_tokenizer.Tokenizer, depth: int, tokens: int
) -> int:
  """Multiply-adds of the blocks and the last MLP for one token."""
  width = model.width
  return depth * (12 * width**2 + 2 * tokens * width) + 8 * width**2


def _part(part: unet.Part, pixels: int, time: int) -> int:
  """Multiply-adds of one layer of a UNet.

  Args:
    part: the layer.
    pixels: number of positions of its output.
    time: width of the embedding of noise levels.
  """
  _, inputs, features = part
  if part.kind == 'attention':
    return pixels * (4 * features**2 + 2 * pixels * features)
  products = pixels * 9 * inputs * features
  if part.kind == 'residual':
    products += pixels * 9 * features**2 + time * features
    products += pixels * inputs * features * (inputs != features)
  return products
