"""A converted CLIP, ready to use: photos and texts to vectors."""

import functools

import jax
import numpy as np

from fusion_jax.data import clip_images
from fusion_jax.models import clip, clip_text
from fusion_jax.ops import zero_shot


class ClipModel:
  """A CLIP with its preprocessing and its tokenizer.

  Attributes:
    config: of `fusion_jax.convert clip`.
    params: of the model.
    model: `clip.Clip`.
    width: E, of its vectors.
  """

  def __init__(self, config, params):
    """Args: as the attributes."""
    self.config = config
    self.params = jax.device_put(params)
    self.model = clip.Clip(**config.model)
    self.width = self.model.width
    self._embed = jax.jit(
      lambda params, inputs, method: self.model.apply(
        {'params': params}, inputs, method=method
      ),
      static_argnums=2,
    )

  def embed_images(self, photos, *, normalize=True, batch_size=64):
    """Vectors of photos.

    Args:
      photos: B paths, PIL images or uint8 arrays [Y, X, 3], of any size.
      normalize: whether to bring vectors to length 1; without, they are as
        projected, which is how data sets store them.
      batch_size: photos at a time.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if a photo does not decode; its file is named.
    """
    prepare = functools.partial(
      clip_images.preprocess, size=self.model.image_size
    )
    return self._in_batches(
      photos, prepare, 'embed_images', normalize, batch_size
    )

  def embed_texts(
    self, texts, *, normalize=True, truncate=False, batch_size=64
  ):
    """Vectors of texts.

    Args:
      texts: B strings.
      normalize: as of `embed_images`.
      truncate: whether to cut texts that are too long instead of raising.
      batch_size: texts at a time.

    Returns:
      [B, E] float32.

    Raises:
      ValueError: if a text is too long; or if the model's vocabulary is not
        that of CLIP.
    """
    if self.model.vocab_size != clip_text.END + 1:
      raise ValueError(
        f'The vocabulary of this model has {self.model.vocab_size} words, '
        f"CLIP's has {clip_text.END + 1}; give it ids instead of texts."
      )
    prepare = functools.partial(
      clip_text.encode, context=self.model.context, truncate=truncate
    )
    return self._in_batches(
      texts, prepare, 'embed_texts', normalize, batch_size
    )

  def class_vectors(self, prompts):
    """One vector a class, [C, E] of length 1, from `data.prompts.Prompts`.

    Vectors that came with the prompts are used as they are.
    """
    prompts = prompts.with_vectors(self.embed_texts)
    return np.asarray(
      zero_shot.class_vectors(
        prompts.vectors, prompts.class_of, len(prompts.classes)
      )
    )

  def _in_batches(self, items, prepare, method, normalize, batch_size):
    """Vectors of prepared items; one program for all batches."""
    rows = [np.zeros((0, self.width), np.float32)]
    for start in range(0, len(items), batch_size):
      inputs = prepare(items[start : start + batch_size])
      size = min(batch_size, 1 << (len(items) - 1).bit_length())
      padded = np.zeros((size, *inputs.shape[1:]), inputs.dtype)
      padded[: len(inputs)] = inputs
      rows.append(
        np.asarray(self._embed(self.params, padded, method))[: len(inputs)]
      )
    vectors = np.concatenate(rows)
    return np.asarray(zero_shot.unit(vectors)) if normalize else vectors
