"""A trained image tokenizer, ready to use: `image_codec.load(workdir)`.

It carries its configuration and standardisation, so what it makes of an image
cannot differ from what it was trained on.
"""

import hashlib
import json

import jax
import numpy as np

from fusion_jax.assembly import upgrade
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.ops import noise
from fusion_jax.tasks import image_tokenizer
from fusion_jax.train import checkpoint, sharding


def load(workdir, which='last'):
  """Loads what a run of `configs/image_tokenizer.py`, or `convert`, wrote.

  Args:
    workdir: of the run.
    which: 'last', 'best' or a step.

  Returns:
    `ImageCodec`.

  Raises:
    checkpoint.CheckpointError: if there is no such checkpoint, or it is
      damaged.
    ValueError: if it is a checkpoint of another task.
  """
  params, metadata = checkpoint.restore_params(workdir, which)
  config = upgrade.upgrade(metadata['config'], str(workdir))
  if config.task != 'image_tokenizer':
    raise ValueError(
      f'{workdir} holds a run of the task {config.task!r}; name the folder of '
      'an image tokenizer, a run of configs/image_tokenizer.py or one that '
      '`fusion_jax.convert` made.'
    )
  return ImageCodec(config, params)


class ImageCodec:
  """Images of one sensor <-> codes.

  Attributes:
    config: of the run.
    params: of the model.
    modality: of the codes.
    num_codes: size of the codebook.
  """

  def __init__(self, config, params):
    self.config = config
    self._task = image_tokenizer.ImageTokenizer(config)
    self.modality = self._task.modality
    self.num_codes = self._task.num_codes
    self._mesh = sharding.make_mesh()
    self.params = jax.device_put(params, sharding.replicated(self._mesh))
    self._encode = jax.jit(self._task.encode)
    self._decode = jax.jit(self._task.decode, static_argnums=3)

  def encode(self, images):
    """Codes [B, Y / 16, X / 16], uint16 (int32 if there are so many).

    Args:
      images: [B, Y, X, C] in the sensor's unit, as `prepare` stores them;
        their sides are multiples of 16. A pixel without a value (NaN) counts
        as the mean.

    Raises:
      ValueError: for other bands, or sides that do not divide.
    """
    images = np.asarray(images)
    if images.ndim != 4 or not images.size:
      raise ValueError(
        f'{self.modality.field} is {images.shape}; wanted is '
        '[images, rows, columns, bands].'
      )
    standard = self._task.standardise(images)['image']
    with jax.set_mesh(self._mesh):
      codes = self._encode(self.params, self._spread(standard))
      return np.asarray(codes)[: len(images)].astype(
        np.uint16 if self.num_codes <= 2**16 else np.int32
      )

  def decode(self, codes, num_steps=1, seed=0, clip=np.inf):
    """Images [B, Y, X, C] in the sensor's unit, float32; classes are uint8.

    Args:
      codes: [B, y, x].
      num_steps: of the diffusion decoder, see `ImageTokenizer.decode`.
      seed: of its noise; image i has a seed of its own.
      clip: bound of every pixel at every step, in standard deviations. By
        default, unlike in the published pipeline, nothing is cut off; that
        pipeline's images are those of `num_steps=50, clip=1`.

    Raises:
      ValueError: for anything but ids of the codebook, another number of
        steps than 1..1000, or a bound that is not above 0.
    """
    codes = np.asarray(codes)
    if codes.ndim != 3 or not codes.size or codes.dtype.kind not in 'iu':
      raise ValueError(
        f'The codes are {codes.dtype} {codes.shape}; wanted are '
        'integers [images, rows, columns].'
      )
    noise.time_steps(num_steps)  # Raises for a number that there is not.
    if not clip > 0:
      raise ValueError(f'clip={clip} is not above 0; inf cuts nothing off.')
    codes = codes.astype(np.int32)
    self._task.model.fsq.check(codes)
    seeds = np.random.default_rng(seed).integers(
      2**32, size=len(codes), dtype=np.uint32
    )
    with jax.set_mesh(self._mesh):
      found = self._decode(
        self.params,
        self._spread(codes),
        self._spread(seeds),
        num_steps,
        np.float32(clip),
      )
      found = np.asarray(found)[: len(codes)]
    if tile_transforms.is_classes(self.modality):
      return found.astype(np.uint8)
    mean, std = (
      np.asarray(self.config.standards[name], np.float32)
      for name in ('mean', 'std')
    )
    return found * std + mean

  def fingerprint(self):
    """Short text that stands for the encoder: other codes, another text."""
    digest = hashlib.sha256(
      json.dumps(
        [
          self.config.modality,
          self.config.standards.to_dict(),
          self.config.model.to_dict(),
        ],
        sort_keys=True,
      ).encode()
    )
    for name in ('encoder', 'to_latents'):
      for leaf in jax.tree.leaves(self.params[name]):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()[:16]

  def _spread(self, array):
    """The rows over all devices, the last one repeated to fill them up."""
    spare = -len(array) % self._mesh.size
    padded = np.concatenate([array, np.repeat(array[-1:], spare, 0)])
    return sharding.place(padded, self._mesh)
