"""Image tokenizers: images <-> grids of codes.

`ImageTokenizer` decodes codes to pixels by diffusion, `ClassTokenizer` decodes
them to logits of land-cover classes. Both encode patches of 16 x 16 pixels with
a vision transformer and finite scalar quantisation (FSQ). Source: the DiVAE and
VQVAE of TerraMind v1 (terrastackai/terratorch, commit 85467a9,
`tokenizer/vqvae.py`).

  model = image_tokenizer.make('S2L2A')  # Or .clone(width=96, depth=3, ...).
  params = model.init(key, images, noisy, t)['params']  # See `__call__`.
  call = functools.partial(model.apply, {'params': params})

  ids = call(images, method='encode')  # [B, Y / 16, X / 16] int32.
  images = call(ids, key, num_steps=50, clip=1.0, method='decode')
  # The training loss, with `noisy` of `ops.noise.add_noise`:
  loss = jnp.mean((call(images, noisy, t) - images)**2)

A `ClassTokenizer` maps class maps to logits in training, `call(class_map)`; its
`method='encode'` returns ids, and its `method='decode'` the logits of ids.
Images are [B, Y, X, C], standardised by the modality table; class maps are not
standardised.
"""

from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from fusion_jax import modalities
from fusion_jax.nn import convolutions, unet, vit
from fusion_jax.ops import fsq, noise
from fusion_jax.types import Array, Key, Params

PATCH = modalities.PATCH
LEVELS = (8, 8, 8, 6, 5)  # 15,360 codes.
CLASS_LEVELS = (7, 5, 5, 5, 5)  # 4,375 codes.
NUM_CLASSES = 10  # ESRI land cover as TerraMind numbers it, 0..9.


class Tokenizer(nn.Module):
  """The part that both tokenizers have: from pixels to codes.

  Attributes:
    channels: C, number of channels of the images.
    levels: number of FSQ levels of each channel of the latents.
    width: D, width of the transformer; divisible by 4.
    depth: number of blocks of the encoder's transformer.
    num_heads: number of attention heads; must divide D.
    image_size: pixels per side of the images that the position table was made
      for; 256 in all published weights. For other images it is interpolated.
    unroll: blocks per iteration of the loop over blocks.
    dtype: data type of the computation; latents and outputs are float32.
    stacked: whether the parameters of a transformer's blocks are stacked, as in
      all checkpoints; see `unstacked`.
  """

  channels: int
  levels: tuple[int, ...] = LEVELS
  width: int = 768
  depth: int = 12
  num_heads: int = 12
  image_size: int = 256
  unroll: int = 1
  dtype: DTypeLike = jnp.float32
  stacked: bool = True

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    self.encoder = vit.PatchEncoder(self._transformer(self.depth), PATCH)
    self.to_latents = convolutions.Projection(len(self.levels))

  @property
  def fsq(self) -> fsq.FSQ:
    """The quantiser; its method `check` validates ids from a caller."""
    return fsq.FSQ(self.levels, **fsq.TERRAMIND)

  def encode(self, images: Array) -> Array:
    """Returns ids [B, Y / 16, X / 16] int32 of images [B, Y, X, C]."""
    return self.fsq.to_indices(self.codes(images))

  def codes(self, images: Array) -> jax.Array:
    """Returns codes [B, Y / 16, X / 16, len(levels)] in [0, 1] of images."""
    return self.fsq.quantize(self.latents(images))

  def latents(self, images: Array) -> jax.Array:
    """Returns latents [B, Y / 16, X / 16, len(levels)] float32 before FSQ."""
    return self.to_latents(self.features(images).astype(jnp.float32))

  def features(self, images: Array, keep_all: bool = False) -> Any:
    """Returns the transformer's output, [B, Y / 16, X / 16, D].

    Args:
      images: [B, Y, X, C] float, standardised.
      keep_all: whether to also return the output of every block,
        [L, B, N, D], as the second of a pair.

    Raises:
      ValueError: if the images do not have C channels, or their sides are not
        multiples of 16.
    """
    if images.ndim != 4 or images.shape[-1] != self.channels:
      raise ValueError(
        f'Images {images.shape} must be [B, Y, X, '
        f'{self.channels}], channels last.'
      )
    return self.encoder(images, keep_all)

  @nn.nowrap
  def unstacked(self, params: Params) -> tuple[Self, Params]:
    """Returns the tokenizer and its parameters with the blocks not stacked.

    Its outputs are equal. It is meant for images one at a time on a CPU, where
    slicing every block out of the stack takes a fifth of the time; it compiles
    more slowly.

    Args:
      params: parameters of this tokenizer, with stacked blocks.
    """
    sides = {
      side: part | {'transformer': vit.unstacked(part['transformer'])}
      for side, part in params.items()
      if 'transformer' in part
    }
    return self.clone(stacked=False), {**params, **sides}

  def _transformer(self, depth: int) -> vit.Transformer:
    return vit.Transformer(
      self.width,
      depth,
      self.num_heads,
      self.image_size // PATCH,
      self.unroll,
      self.dtype,
      self.stacked,
    )


class ImageTokenizer(Tokenizer):
  """Tokenizer of images of continuous values; a diffusion UNet decodes codes.

  Attributes:
    unet_width: channels of the finest level, a multiple of `unet_groups`.
    unet_multipliers: channels of every level as multiples of `unet_width`. The
      sides of images must be multiples of 4 * 2^(levels - 1), 32 for four.
    unet_blocks: residual blocks per level.
    unet_attention: reductions of the image's side at which there is attention.
    unet_groups: number of groups of the group normalisation.
  """

  unet_width: int = 256
  unet_multipliers: tuple[int, ...] = (1, 2, 2, 2)
  unet_blocks: int = 3
  unet_attention: tuple[int, ...] = (4, 8)
  unet_groups: int = 32

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    super().setup()
    self.decoder = self.unet

  @property
  def unet(self) -> unet.UNet:
    """The decoder; the sides of images must be multiples of its `multiple`."""
    return unet.UNet(
      self.channels,
      self.unet_width,
      self.unet_multipliers,
      self.unet_blocks,
      self.unet_attention,
      self.unet_groups,
      dtype=self.dtype,
      parent=None,
    )

  def __call__(self, images: Array, noisy: Array, t: Array) -> jax.Array:
    """Predicts clean images [B, Y, X, C] from noisy images and codes.

    Args:
      images: [B, Y, X, C] float, the images whose codes are used.
      noisy: [B, Y, X, C] float, the images with noise.
      t: [B] int, their noise levels.
    """
    return self.denoise(noisy, t, self.codes(images))

  def denoise(
    self, noisy: Array, t: Array, codes: Array, drop: Array | None = None
  ) -> jax.Array:
    """Predicts clean images, [B, Y, X, C] float32.

    Args:
      noisy: [B, Y, X, C] float, standard normal at t = 999.
      t: [B] or [] int, noise levels, 0 to 999.
      codes: [B, Y / 16, X / 16, len(levels)] float.
      drop: bool [B, Y / 16, X / 16], True where codes are set to 0. The
        published weights were not trained with such codes.
    """
    if drop is not None:
      codes = jnp.where(drop[..., None], 0.0, codes)
    return self.decoder(noisy, t, codes)

  def decode(
    self, ids: Array, key: Key, num_steps: int = 50, clip: float = 1.0
  ) -> jax.Array:
    """Draws images [B, 16 * rows, 16 * columns, C] of ids by DDIM.

    Args:
      ids: [B, rows, columns] int.
      key: random key of the initial noise.
      num_steps: number of DDIM steps; there is one more if it does not divide
        1000.
      clip: bound of every predicted pixel, in standard deviations: 1 in the
        published pipeline, inf for no bound.

    Raises:
      ValueError: if ids with known values are outside the codebook, or the
        sides of the images are no multiples of the UNet's `multiple`.
    """
    batch, rows, columns = ids.shape
    shape = batch, PATCH * rows, PATCH * columns, self.channels
    start = jax.random.normal(key, shape)
    return self.sample(self.fsq.from_indices(ids), start, num_steps, clip)

  def sample(
    self,
    codes: Array,
    start: Array,
    num_steps: int = 50,
    clip: float = 1.0,
    keep_all: bool = False,
  ) -> Any:
    """Draws images [B, Y, X, C] of codes by DDIM, in one compiled loop.

    Args:
      codes: [B, Y / 16, X / 16, len(levels)] float.
      start: [B, Y, X, C] float, the initial noise.
      num_steps: number of DDIM steps, see `decode`.
      clip: bound of every predicted pixel, see `decode`.
      keep_all: whether to also return the images after every step and the
        predictions before clipping, [steps, B, Y, X, C] each, as the second
        and third of a triple.

    Raises:
      ValueError: unless 1 <= num_steps <= 1000.
    """
    times = noise.time_steps(num_steps)
    shares, stride = noise.signal_shares(), noise.NUM_LEVELS // num_steps

    def step(decoder, images, t):
      clean = decoder(images, t, codes)
      images, _ = noise.ddim_step(
        clean,
        images,
        t,
        stride,
        shares,
        limit=lambda predicted: noise.clip(predicted, clip),
      )
      return images, (images, clean) if keep_all else None

    loop: Any = nn.scan(
      step, variable_broadcast='params', split_rngs={'params': False}
    )
    images, steps = loop(self.decoder, start, jnp.asarray(times))
    return (images, *steps) if keep_all else images


class ClassTokenizer(Tokenizer):
  """Tokenizer of land-cover maps; a transformer decodes codes to logits.

  Attributes:
    channels: number of classes.
    levels: number of FSQ levels of each channel of the latents.
    decoder_depth: number of blocks of the decoder.
  """

  channels: int = NUM_CLASSES
  levels: tuple[int, ...] = CLASS_LEVELS
  decoder_depth: int = 12

  def setup(self) -> None:
    """Makes the submodules and parameters."""
    super().setup()
    self.from_codes = convolutions.Projection(self.width)
    self.decoder = vit.PatchDecoder(
      self._transformer(self.decoder_depth), self.channels, PATCH
    )

  def __call__(self, classes: Array) -> jax.Array:
    """Returns logits [B, Y, X, classes] float32 of the codes of class maps.

    Args:
      classes: class maps, see `features`.
    """
    return self.decoder(self.from_codes(self.codes(classes)))

  def features(self, images: Array, keep_all: bool = False) -> Any:
    """Returns the transformer's output, [B, Y / 16, X / 16, D].

    Args:
      images: class maps [B, Y, X] or [B, Y, X, 1] int, or [B, Y, X, classes]
        float, one-hot. A class outside 0 to classes - 1 counts as none of them.
      keep_all: whether to also return the output of every block,
        [L, B, N, D], as the second of a pair.
    """
    if images.ndim == 4 and images.shape[-1] == 1:
      images = images[..., 0]
    if images.ndim == 3:
      images = jax.nn.one_hot(images.astype(jnp.int32), self.channels)
    return super().features(images, keep_all)

  def decode(self, ids: Array) -> jax.Array:
    """Returns logits [B, 16 * rows, 16 * columns, classes] float32 of ids.

    Args:
      ids: [B, rows, columns] int.

    Raises:
      ValueError: if ids with known values are outside the codebook.
    """
    return self.decoder(self.from_codes(self.fsq.from_indices(ids)))


def make(name: str) -> ImageTokenizer | ClassTokenizer:
  """Returns the tokenizer of a modality, of the published size.

  Its method `clone` returns one of another size.

  Args:
    name: key or friendly name of a modality with codes, such as 'S2L2A'.

  Raises:
    ValueError: if the modality has no image codes.
  """
  modality = modalities.get(name, role='target')
  if modality.kind != 'tokens':
    coded = sorted(
      m.field for m in modalities.MODALITIES.values() if m.kind == 'tokens'
    )
    raise ValueError(
      f'{modality.name!r} has no image tokenizer; those with one are {coded}.'
    )
  if modality.field == 'LULC':
    return ClassTokenizer()
  return ImageTokenizer(len(modality.bands))
