"""Image tokenizers: images <-> grids of codes.

`ImageTokenizer` makes pixels again by diffusion, `ClassTokenizer` makes logits
of land-cover classes. Both encode patches of 16 x 16 pixels with a vision
transformer and finite scalar quantisation (FSQ). Source: the DiVAE and VQVAE of
TerraMind v1 (terrastackai/terratorch, commit 85467a9, `tokenizer/vqvae.py`).

  model = image_tokenizer.make('S2L2A')  # Or smaller: width=96, depth=3, ...
  params = model.init(key, images, images, levels)['params']  # See __call__.
  call = functools.partial(model.apply, {'params': params})

  ids = call(images, method='encode')  # [B, Y / 16, X / 16] int32.
  images = call(ids, key, num_steps=50, clip=1., method='decode')
  # Training: the mean squared error of the clean image.
  noisy, t = image_tokenizer.diffuse(images, key)
  loss = jnp.mean((call(images, noisy, t) - images)**2)

A `ClassTokenizer` is `call(class_map)` -> logits in training, its ids come from
`method='encode'` and its logits of ids from `method='decode'`. Images are
[B, Y, X, C], standardised by the modality table; class maps are not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fusion_jax import modalities
from fusion_jax.nn import convolutions, unet, vit
from fusion_jax.ops import fsq, noise

PATCH = modalities.PATCH
LEVELS = (8, 8, 8, 6, 5)  # 15,360 codes.
CLASS_LEVELS = (7, 5, 5, 5, 5)  # 4,375 codes.
NUM_CLASSES = 10  # ESRI land cover as TerraMind numbers it, 0..9.


class Tokenizer(nn.Module):
  """What both tokenizers share: the way from pixels to codes.

  Attributes:
    channels: of the images.
    levels: of the FSQ, one a channel of the latents.
    width: D, divisible by 4.
    depth: blocks of the transformer.
    num_heads: must divide D.
    image_size: pixels a side of the images that the positions were made for;
      256 in all published weights. Others see them stretched.
    unroll: blocks a loop iteration.
    dtype: of the computation; latents and outputs are float32.
    stacked: whether the blocks of a transformer share stacked parameters, as
      all checkpoints have them; see `unstacked`.
  """

  channels: int
  levels: tuple[int, ...] = LEVELS
  width: int = 768
  depth: int = 12
  num_heads: int = 12
  image_size: int = 256
  unroll: int = 1
  dtype: Any = jnp.float32
  stacked: bool = True

  def setup(self):
    self.encoder = vit.PatchEncoder(self._transformer(self.depth), PATCH)
    self.to_latents = convolutions.Projection(self.num_learned)

  @property
  def num_learned(self):
    """Channels of the latents that the transformer fills."""
    return len(self.levels)

  @property
  def fsq(self):
    """The quantiser, with `check` for ids that a caller was given."""
    return fsq.FSQ(self.levels, **fsq.TERRAMIND)

  def encode(self, images):
    """Ids [B, Y / 16, X / 16] int32 of images [B, Y, X, C]."""
    return self.fsq.to_indices(self.codes(images))

  def codes(self, images):
    """Codes [B, Y / 16, X / 16, len(levels)] in [0, 1], straight-through."""
    return self.fsq.quantize(self.latents(images))

  def latents(self, images):
    """What is quantised, [B, Y / 16, X / 16, len(levels)] float32."""
    return self.to_latents(self.features(images).astype(jnp.float32))

  def features(self, images, keep_all=False):
    """What the transformer gives, [B, Y / 16, X / 16, D].

    With `keep_all` also the output of every block, [L, B, N, D].

    Raises:
      ValueError: if the channels are others, or the sides do not divide by 16.
    """
    if images.ndim != 4 or images.shape[-1] != self.channels:
      raise ValueError(
        f'Images {images.shape} must be [B, Y, X, '
        f'{self.channels}], channels last.'
      )
    return self.encoder(images, keep_all)

  def _transformer(self, depth):
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
  """Images of continuous values; codes become pixels by diffusion.

  Attributes:
    unet_width: channels of the finest level, a multiple of `unet_groups`.
    unet_multipliers: of them; sides divide by 4 * 2^(levels - 1), here 32.
    unet_blocks: residual blocks a level.
    unet_attention: reductions at which there is attention.
    unet_groups: of the group normalisation.
  """

  unet_width: int = 256
  unet_multipliers: tuple[int, ...] = (1, 2, 2, 2)
  unet_blocks: int = 3
  unet_attention: tuple[int, ...] = (4, 8)
  unet_groups: int = 32

  def setup(self):
    super().setup()
    self.decoder = self.denoiser()

  def denoiser(self):
    """The decoder: a function of noisy images, levels of noise and codes."""
    return self.unet

  @property
  def unet(self):
    """Its UNet; images must divide by its `multiple`."""
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

  def __call__(self, images, noisy, t):
    """Clean images [B, Y, X, C] as predicted from noisy ones and the codes.

    Args:
      images: [B, Y, X, C], which the codes are made of.
      noisy: [B, Y, X, C], of `diffuse`, as t.
      t: [B] int.
    """
    return self.denoise(noisy, t, self.codes(images))

  def denoise(self, noisy, t, codes, drop=None):
    """Clean images as predicted, [B, Y, X, C] float32.

    Args:
      noisy: [B, Y, X, C], standard normal at t = 999.
      t: [B] or [] int, noise levels, 0..999.
      codes: [B, Y / 16, X / 16, len(levels)].
      drop: bool [B, Y / 16, X / 16], which codes become zeros; the published
        weights never saw that.
    """
    if drop is not None:
      codes = jnp.where(drop[..., None], 0.0, codes)
    return self.decoder(noisy, t, codes)

  def decode(self, ids, key, num_steps=50, clip=1.0):
    """Images [B, 16 * rows, 16 * columns, C] of ids, drawn by DDIM.

    Args:
      ids: [B, rows, columns] int.
      key: of the start noise.
      num_steps: of the sampler; one more where they do not divide 1000.
      clip: bound of every predicted pixel, in standard deviations: 1 as
        published, inf for none.

    Raises:
      ValueError: if known ids are outside the codebook, or 32 does not divide
        the image's sides.
    """
    batch, rows, columns = ids.shape
    shape = batch, PATCH * rows, PATCH * columns, self.channels
    start = jax.random.normal(key, shape)
    return self.sample(self.fsq.from_indices(ids), start, num_steps, clip)

  def sample(self, codes, start, num_steps=50, clip=1.0, keep_all=False):
    """`decode` from codes and start noise [B, Y, X, C], as one loop.

    With `keep_all` also the images after every step and the predictions before
    clipping, [steps, B, Y, X, C] each. Raises unless 1 <= num_steps <= 1000.
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

    loop = nn.scan(
      step, variable_broadcast='params', split_rngs={'params': False}
    )
    images, every = loop(self.decoder, start, jnp.asarray(times))
    return (images, *every) if keep_all else images


class ClassTokenizer(Tokenizer):
  """Maps of land-cover classes; codes become logits by a transformer.

  `channels` is the number of classes.

  Attributes:
    decoder_depth: blocks of the decoder.
  """

  channels: int = NUM_CLASSES
  levels: tuple[int, ...] = CLASS_LEVELS
  decoder_depth: int = 12

  def setup(self):
    super().setup()
    self.from_codes = convolutions.Projection(self.width)
    self.decoder = vit.PatchDecoder(
      self._transformer(self.decoder_depth), self.channels, PATCH
    )

  def __call__(self, classes):
    """Logits [B, Y, X, classes] float32 of class maps, see `features`."""
    return self.decoder(self.from_codes(self.codes(classes)))

  def features(self, images, keep_all=False):
    """What the transformer gives, [B, Y / 16, X / 16, D].

    Args:
      images: class maps [B, Y, X] or [B, Y, X, 1] int, or [B, Y, X, classes]
        float, one-hot. A class outside 0..classes - 1 counts as none of them.
      keep_all: as in `Tokenizer.features`.
    """
    if images.ndim == 4 and images.shape[-1] == 1:
      images = images[..., 0]
    if images.ndim == 3:
      images = jax.nn.one_hot(images.astype(jnp.int32), self.channels)
    return super().features(images, keep_all)

  def decode(self, ids):
    """Logits [B, 16 * rows, 16 * columns, classes] of ids [B, rows, columns].

    Raises:
      ValueError: if known ids are outside the codebook.
    """
    return self.decoder(self.from_codes(self.fsq.from_indices(ids)))


def make(name, **settings):
  """The tokenizer of a modality, of the published size unless told otherwise.

  Args:
    name: key or friendly name of a modality with codes, such as 'S2L2A'.
    **settings: attributes of `ImageTokenizer` or `ClassTokenizer`.

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
    return ClassTokenizer(**settings)
  return ImageTokenizer(len(modality.bands), **settings)


def unstacked(model, params):
  """The same tokenizer with the parameters of every block by themselves.

  Takes and returns both. For images one at a time on a CPU, where cutting out
  each block takes a fifth of the time; it compiles more slowly.
  """
  sides = {
    side: part | {'transformer': vit.unstacked(part['transformer'])}
    for side, part in params.items()
    if 'transformer' in part
  }
  return model.clone(stacked=False), params | sides


def diffuse(images, key):
  """Images at random noise levels, for training.

  Args:
    images: [B, Y, X, C].
    key: of levels and noise.

  Returns:
    The noisy images and their levels t [B], uniform in 0..999.
  """
  key_level, key_noise = jax.random.split(key)
  t = jax.random.randint(key_level, images.shape[:1], 0, noise.NUM_LEVELS)
  return noise.add_noise(
    images, jax.random.normal(key_noise, images.shape), t, noise.signal_shares()
  ), t
