"""How many FLOPs the image tokenizers need at least.

Matrix products and convolutions only, 2 FLOPs a multiply-add; training costs
three times the forward pass.
"""

from fusion_jax.models import image_tokenizer


def encoding_flops(model, height, width):
  """FLOPs from one image of `height` x `width` pixels to its ids."""
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


def decoding_flops(model, height, width):
  """FLOPs from the ids of one image to logits, of a `ClassTokenizer`."""
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


def denoising_flops(model, height, width):
  """FLOPs of one UNet step on one image, of an `ImageTokenizer`."""
  unet = model.unet
  parts = unet.parts(len(model.levels))
  time = 4 * unet.width
  products = unet.width * time + time**2
  pixels = first = height * width // unet.patch**2
  for block in parts['input'] + parts['middle'] + parts['output']:
    for part in block:
      if part.kind in ('down', 'up'):
        pixels = pixels // 4 if part.kind == 'down' else pixels * 4
      products += _part(part, pixels, time)
  out = 9 * unet.width * unet.multipliers[0] * model.channels * unet.patch**2
  return 2 * (products + first * out)


def training_flops(model, batch_size, height, width):
  """FLOPs of a training step."""
  decode = (
    denoising_flops
    if isinstance(model, image_tokenizer.ImageTokenizer)
    else decoding_flops
  )
  return (
    3
    * batch_size
    * (encoding_flops(model, height, width) + decode(model, height, width))
  )


def _transformer(model, depth, tokens):
  """Multiply-adds of blocks and final MLP for one token."""
  width = model.width
  return depth * (12 * width**2 + 2 * tokens * width) + 8 * width**2


def _part(part, pixels, time):
  """Multiply-adds of one part of a UNet at `pixels` positions."""
  _, inputs, features = part
  if part.kind == 'attention':
    return pixels * (4 * features**2 + 2 * pixels * features)
  products = pixels * 9 * inputs * features
  if part.kind == 'residual':
    products += pixels * 9 * features**2 + time * features
    products += pixels * inputs * features * (inputs != features)
  return products
