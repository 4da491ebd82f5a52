"""Photos as CLIP sees them: resized, cropped, standardised.

Source: OpenAI CLIP, `clip.py` (`_transform`). Pillow's bicubic filter works on
bytes and smooths when it shrinks; others differ by several grey levels.
"""

import os

import numpy as np
from PIL import Image

MEAN = (0.48145466, 0.4578275, 0.40821073)  # Of red, green, blue in [0, 1].
STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(photos, size=224):
  """Standardised pixels of photos.

  Args:
    photos: B of what `resize` takes.
    size: pixels a side.

  Returns:
    [B, size, size, 3] float32.

  Raises:
    ValueError: as `read` and `resize`.
  """
  if isinstance(photos, (str, os.PathLike)):
    raise TypeError(f'Give a list of photos, such as [{str(photos)!r}].')
  pixels = np.zeros((len(photos), size, size, 3), np.float32)
  for i, photo in enumerate(photos):
    pixels[i] = standardize(resize(photo, size))
  return pixels


def resize(photo, size=224):
  """A square photo: its shorter side becomes `size`, the centre is kept.

  Args:
    photo: path, PIL image, or uint8 [Y, X, 3].
    size: pixels a side.

  Returns:
    [size, size, 3] uint8.

  Raises:
    ValueError: if an array is no photo of bytes, or a file does not decode.
  """
  image = _as_image(photo)
  width, height = image.size
  short = min(width, height)
  width, height = size * width // short, size * height // short
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = round((width - size) / 2), round((height - size) / 2)
  return np.asarray(image.crop((left, top, left + size, top + size)))


def standardize(pixels):
  """Bytes [..., 3] to float32 of mean 0 and deviation 1 over CLIP's photos."""
  shape = (1,) * (np.ndim(pixels) - 1) + (3,)
  mean, std = (np.asarray(x, np.float32).reshape(shape) for x in (MEAN, STD))
  return (np.asarray(pixels, np.float32) / np.float32(255) - mean) / std


def read(path):
  """The photo in a file as a PIL image in RGB; its EXIF turn is ignored.

  Raises:
    FileNotFoundError: if there is no such file.
    ValueError: if it does not decode, wholly; the file is named.
  """
  try:
    with Image.open(path) as image:
      return image.convert('RGB')
  except FileNotFoundError:
    raise
  except Exception as error:  # Pillow's decoders raise many kinds.
    raise ValueError(
      f'{path} does not decode as a photo ({error}); fetch it again, or '
      'leave it out.'
    ) from error


def _as_image(photo):
  if isinstance(photo, (str, os.PathLike)):
    return read(photo)
  if isinstance(photo, Image.Image):
    return photo.convert('RGB')
  array = np.asarray(photo)
  if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
    raise ValueError(
      f'A photo is {array.dtype} {array.shape}; wanted are bytes, uint8 '
      '[rows, columns, 3] in red, green, blue.'
    )
  return Image.fromarray(array)
