"""A converted CLIP, ready to use: photos and texts to vectors."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from fusion_jax.data import clip_images
from fusion_jax.data import prompts as prompts_lib
from fusion_jax.inference import batches, trained
from fusion_jax.models import clip, clip_text
from fusion_jax.ops import zero_shot
from fusion_jax.types import Array, Config, Params


class ClipModel(trained.Trained):
  """A CLIP with its preprocessing of photos and its tokenizer of texts.

  Attributes:
    config: configuration that `fusion_jax.convert clip` wrote.
    params: parameters of the model.
    model: the two towers.
    width: dimensions E of its vectors.
  """

  config: Config
  params: Params
  model: clip.Clip
  width: int

  def __init__(self, config: Config, params: Params):
    """Builds the model.

    Args:
      config: configuration with the task 'clip', up to date.
      params: parameters of the model.
    """
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

  def embed_images(
    self,
    photos: Sequence[Any],
    *,
    normalize: bool = True,
    batch_size: int = 64,
  ) -> np.ndarray:
    """Embeds photos.

    Args:
      photos: B paths, PIL images or uint8 arrays [Y, X, 3], of any size.
      normalize: whether to bring the vectors to length 1. Without, they are as
        the model projects them, which is how data sets store them.
      batch_size: number of photos at a time.

    Returns:
      Vectors, [B, E] float32.

    Raises:
      ValueError: if a photo cannot be decoded; its file is named.
    """
    size = self.model.image_size
    return self._vectors(
      lambda rows: clip_images.preprocess(photos[rows], size=size),
      'embed_images',
      len(photos),
      normalize,
      batch_size,
    )

  def embed_texts(
    self,
    texts: Sequence[str],
    *,
    normalize: bool = True,
    truncate: bool = False,
    batch_size: int = 64,
  ) -> np.ndarray:
    """Embeds texts.

    Args:
      texts: B texts.
      normalize: whether to bring the vectors to length 1, see `embed_images`.
      truncate: whether to cut texts that are too long instead of raising.
      batch_size: number of texts at a time.

    Returns:
      Vectors, [B, E] float32.

    Raises:
      ValueError: if a text is too long, or the model's vocabulary is not that
        of CLIP.
    """
    if self.model.vocab_size != clip_text.END + 1:
      raise ValueError(
        f'The vocabulary of this model has {self.model.vocab_size} words, '
        f"CLIP's has {clip_text.END + 1}; give it ids instead of texts."
      )
    context = self.model.context
    return self._vectors(
      lambda rows: clip_text.encode(
        texts[rows], context=context, truncate=truncate
      ),
      'embed_texts',
      len(texts),
      normalize,
      batch_size,
    )

  def class_vectors(self, prompts: prompts_lib.Prompts) -> np.ndarray:
    """Returns one vector per class, from the texts that describe it.

    Args:
      prompts: texts of C classes. If they have vectors, these are used and no
        text is embedded.

    Returns:
      Vectors of length 1, [C, E] float32.
    """
    prompts = prompts.with_vectors(self.embed_texts)
    assert prompts.vectors is not None
    class_of = np.asarray(prompts.class_of)
    vectors = zero_shot.class_vectors(
      prompts.vectors, class_of, len(prompts.classes)
    )
    return np.asarray(vectors)

  def _vectors(
    self,
    prepare: Callable[[slice], Array],
    method: str,
    num_rows: int,
    normalize: bool,
    batch_size: int,
  ) -> np.ndarray:
    """Returns the vectors [B, E] of prepared inputs, by a method of the model.

    Few inputs fill a power of two, so that different numbers of them share a
    compiled program.
    """
    if not num_rows:
      return np.zeros((0, self.width), np.float32)
    vectors = batches.run(
      lambda rows: (prepare(rows),),
      lambda inputs: self._embed(self.params, inputs, method),
      num_rows,
      min(batch_size, 1 << (num_rows - 1).bit_length()),
    )
    return np.asarray(zero_shot.unit(vectors)) if normalize else vectors
