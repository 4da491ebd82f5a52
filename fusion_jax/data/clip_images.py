"""Photos as CLIP sees them: resized, cropped, standardised.

Source: OpenAI CLIP, `clip.py` (`_transform`). Pillow's bicubic filter works on
bytes and smooths when it shrinks; other filters differ by several grey levels.
"""

import os
from collections.abc import Sequence

import numpy as np
from numpy import typing as npt
from PIL import Image

from fusion_jax.untrusted import memory

# A photo: the path of its file, a Pillow image, or uint8 [Y, X, 3].
Photo = str | os.PathLike[str] | Image.Image | npt.ArrayLike

# Others may run programs, as EPS does.
_FORMATS = ('JPEG', 'PNG', 'TIFF', 'WEBP')
MEAN = (0.48145466, 0.4578275, 0.40821073)  # Mean of red, green, blue.
STD = (0.26862954, 0.26130258, 0.27577711)


def preprocess(photos: Sequence[Photo], size: int = 224) -> np.ndarray:
  """Returns the standardised pixels of photos.

  Args:
    photos: B photos, each of them a path, a Pillow image or uint8 [Y, X, 3].
    size: pixels per side of the result.

  Returns:
    [B, size, size, 3] float32.

  Raises:
    TypeError: if `photos` is one path and not a list of photos.
    FileNotFoundError: if a file does not exist.
    ValueError: if an array is not a photo of bytes, or if a file does not
      decode.
  """
  if isinstance(photos, (str, os.PathLike)):
    raise TypeError(f'Give a list of photos, such as [{str(photos)!r}].')
  pixels = np.zeros((len(photos), size, size, 3), np.float32)
  for i, photo in enumerate(photos):
    pixels[i] = standardize(resize(photo, size))
  return pixels


def resize(photo: Photo, size: int = 224) -> np.ndarray:
  """Returns the central square of a photo whose shorter side becomes `size`.

  Args:
    photo: path, Pillow image or uint8 [Y, X, 3].
    size: pixels per side of the result.

  Returns:
    [size, size, 3] uint8.

  Raises:
    FileNotFoundError: if a file does not exist.
    ValueError: if an array is not a photo of bytes, or if a file does not
      decode.
  """
  image = _as_image(photo)
  width, height = image.size
  short = min(width, height)
  width, height = size * width // short, size * height // short
  image = image.resize((width, height), Image.Resampling.BICUBIC)
  left, top = round((width - size) / 2), round((height - size) / 2)
  return np.asarray(image.crop((left, top, left + size, top + size)))


def standardize(pixels: npt.ArrayLike) -> np.ndarray:
  """Scales bytes [..., 3] to the mean 0 and deviation 1 of CLIP's photos.

  Args:
    pixels: [..., 3] uint8, red, green, blue.

  Returns:
    [..., 3] float32.
  """
  shape = (1,) * (np.ndim(pixels) - 1) + (3,)
  mean, std = (np.asarray(x, np.float32).reshape(shape) for x in (MEAN, STD))
  return (np.asarray(pixels, np.float32) / np.float32(255) - mean) / std


def read(path: str | os.PathLike[str]) -> Image.Image:
  """Reads the photo in a file as RGB; its EXIF rotation is ignored.

  Args:
    path: path of the file.

  Raises:
    FileNotFoundError: if the file does not exist.
    ValueError: if the file does not decode completely; the message names it.
  """
  try:
    with Image.open(path, formats=_FORMATS) as image:
      memory.check(4 * image.width * image.height, path, 'the photo')
      return image.convert('RGB')
  except FileNotFoundError:
    raise
  except Exception as error:  # Pillow's decoders raise many kinds.
    raise ValueError(
      f'{path} does not decode as a photo ({error}); fetch it again, or '
      'leave it out.'
    ) from error


def _as_image(photo: Photo) -> Image.Image:
  """Returns a photo as a Pillow image in RGB."""
  if isinstance(photo, (str, os.PathLike)):
    return read(photo)
  if isinstance(photo, Image.Image):
    return photo.convert('RGB')
  array = np.asarray(photo)
  if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
    raise ValueError(
      f'A photo is {array.dtype} {array.shape}, but must be uint8 [rows, '
      'columns, 3] in the order red, green, blue.'
    )
  return Image.fromarray(array)
