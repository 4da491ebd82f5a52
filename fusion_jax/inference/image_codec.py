"""A trained image tokenizer, ready to use: images to codes and back.

It carries its configuration and standardisation, so what it makes of an image
cannot differ from what it was trained on.
"""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from fusion_jax import modalities
from fusion_jax.assembly import image_tokenizer as image_assembly
from fusion_jax.inference import batches, trained, xarray_inputs
from fusion_jax.ops import noise
from fusion_jax.train import sharding
from fusion_jax.types import Array, Config, Params


class ImageCodec(trained.Trained):
  """Images of one sensor <-> codes.

  Attributes:
    config: configuration of the run.
    params: parameters of the tokenizer, a copy on every device.
    modality: modality of the codes.
    num_codes: size of the codebook.
  """

  config: Config
  params: Params
  modality: modalities.Modality
  num_codes: int

  def __init__(self, config: Config, params: Params):
    """Puts the tokenizer on all devices.

    Args:
      config: configuration with the task 'image_tokenizer', up to date.
      params: parameters of the tokenizer.

    Raises:
      ValueError: if the modality has no tokens, or the standardisation is of
        another number of bands.
    """
    self.config = config
    self._assembly = image_assembly.assemble(config)
    self.modality = self._assembly.modality
    self.num_codes = self._assembly.num_codes
    self._mesh = sharding.make_mesh()
    self.params = jax.device_put(params, sharding.replicated(self._mesh))
    self._encode = jax.jit(self._assembly.encode)
    self._decode = jax.jit(self._assembly.decode, static_argnums=3)

  def encode(self, images: Any) -> np.ndarray:
    """Encodes images.

    Args:
      images: [B, Y, X, C] in the sensor's unit, as `prepare` stores them, or an
        `xarray.DataArray`, whose bands are taken by name. Their sides are
        multiples of 16. A pixel without a value (NaN) counts as the mean.

    Returns:
      Codes, [B, Y / 16, X / 16] uint16, or int32 if the codebook is larger.

    Raises:
      ValueError: if the images have other bands, or sides that 16 does not
        divide.
    """
    images = xarray_inputs.image(images, self.modality, refuse_empty=False)
    if images.ndim != 4 or not images.size:
      raise ValueError(
        f'{self.modality.field} is {images.shape}; expected '
        '[images, rows, columns, bands].'
      )
    self.ranges.warn(
      self.modality.field, trained.means_of(images, 3), self.modality.bands
    )
    standardised = self._assembly.standardise(images)['image']
    codes = self._on_all_devices(
      lambda images: self._encode(self.params, images), standardised
    )
    return codes.astype(np.uint16 if self.num_codes <= 2**16 else np.int32)

  def decode(
    self,
    codes: np.ndarray,
    num_steps: int = 1,
    seed: int = 0,
    clip: float = np.inf,
  ) -> np.ndarray:
    """Decodes codes to images.

    Args:
      codes: [B, Y / 16, X / 16] integer codes of `encode`.
      num_steps: steps of the diffusion decoder; 1 gives its mean, more steps
        draw details. See `ImageAssembly.decode`.
      seed: seed of the noise that the diffusion starts with; every image draws
        its own.
      clip: bound of every pixel at every step, in standard deviations. By
        default, unlike in the published pipeline, nothing is cut off; the
        images of that pipeline are those of `num_steps=50, clip=1`.

    Returns:
      Images, [B, Y, X, C] float32 in the sensor's unit; of classes uint8.

    Raises:
      ValueError: if the codes are not in the codebook, the number of steps is
        not in 1..1000, or the bound is not above 0.
    """
    codes = self._checked(codes)
    noise.time_steps(num_steps)  # Raises for a number that there is not.
    if not clip > 0:
      raise ValueError(f'clip={clip} is not above 0; inf cuts nothing off.')
    seeds = np.random.default_rng(seed).integers(
      2**32, size=len(codes), dtype=np.uint32
    )
    images = self._on_all_devices(
      lambda codes, seeds: self._decode(
        self.params, codes, seeds, num_steps, np.float32(clip)
      ),
      codes,
      seeds,
    )
    if self._assembly.is_classes:
      return images.astype(np.uint8)
    mean = np.asarray(self._assembly.mean, np.float32)
    return images * np.asarray(self._assembly.std, np.float32) + mean

  def fingerprint(self) -> str:
    """Returns a short text that stands for the encoder.

    Tokenizers that make other codes have another fingerprint.
    """
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

  def _checked(self, codes: np.ndarray) -> np.ndarray:
    """Returns codes [B, y, x] as int32; raises a ValueError for other ones."""
    codes = np.asarray(codes)
    if codes.ndim != 3 or not codes.size or codes.dtype.kind not in 'iu':
      raise ValueError(
        f'The codes are {codes.dtype} {codes.shape}; expected '
        'integers [images, rows, columns].'
      )
    codes = codes.astype(np.int32)
    self._assembly.model.fsq.check(codes)
    return codes

  def _on_all_devices(self, function, *arrays: Array) -> np.ndarray:
    """Applies a function to rows that are spread over all devices."""
    num_rows = len(arrays[0])
    filled = num_rows + -num_rows % self._mesh.size

    def on_mesh(*rows: Array) -> Array:
      return function(*(sharding.place(x, self._mesh) for x in rows))

    with jax.set_mesh(self._mesh):
      return batches.run(
        lambda rows: tuple(x[rows] for x in arrays), on_mesh, num_rows, filled
      )
