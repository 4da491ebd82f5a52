# ruff: noqa: F722, F821  # Strings of jaxtyping are shapes, no annotations.
"""Shapes and dtypes of the model layer, as jaxtyping and beartype see them.

Signatures below repeat what the docstrings of the models say; a letter stands
for one size in all arguments and results of a call. `jax.eval_shape` traces the
calls without computing anything.
"""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from beartype import beartype
from jaxtyping import Array, Bool, Float, Float32, Int32

from fusion_jax import modalities as modality_table
from fusion_jax.models import (
  backbone,
  clip,
  encoder,
  image_tokenizer,
  pixel_encoder,
  series_tokenizer,
  visibility,
)

checked = jaxtyping.jaxtyped(typechecker=beartype)
DTYPES = pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
IMAGE, CODES, SERIES = 'untok_sen2l2a@224', 'tok_lulc@224', 't2m_hourly'


def shapes_of(call, module, *args, **options):
  """Shapes of `call(apply, *args)`, where `apply` has fresh parameters."""

  def run(key, *args):
    variables = module.init(key, *args, **options)
    return call(functools.partial(module.apply, variables), *args)

  return jax.eval_shape(run, jax.random.key(0), *args)


def zeros(shape, dtype='float32'):
  return jnp.zeros(shape, dtype)


def make_backbone(dtype=jnp.float32):
  modalities = modality_table.select([IMAGE, CODES, SERIES])
  return backbone.Backbone(modalities, 16, 2, 2, 2, dtype=dtype)


def slots(num_slots):
  names = ('modality', 'position', 'code', 'attention')
  return {name: zeros((2, num_slots), 'int32') for name in names}


@DTYPES
def test_backbone(dtype):
  bands = len(modality_table.MODALITIES[IMAGE].bands)
  inputs = slots(5) | {'patches': {IMAGE: zeros((2, 5, 256 * bands))}}
  Tokens = Float[Array, 'B N D']

  @checked
  def encode(
    apply, modality: Int32[Array, 'B N']
  ) -> tuple[Tokens, Tokens, Bool[Array, 'B N']]:
    return apply(inputs | {'modality': modality}, method='encode')

  @checked
  def decode(
    apply,
    encoded: Tokens,
    emb: Tokens,
    visible: Bool[Array, 'B N'],
    modality: Int32[Array, 'B M'],
  ) -> Float[Array, 'B M D']:
    targets = slots(3) | {'modality': modality}
    return apply(encoded, emb, visible, targets, method='decode')

  @checked
  def step(apply, cache, code: Int32[Array, 'R']) -> Float[Array, 'R D']:
    token, after = apply(cache, code, 0, 1, method='decode_step')
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, cache)
    return token

  def run(apply, batch):
    encoded = encode(apply, batch['encoder']['modality'])
    tokens = decode(apply, *encoded, batch['decoder']['modality'])
    cache = apply(*encoded, 7, 3, method='start_decoding')
    return tokens, step(apply, cache, zeros(6, 'int32'))

  batch = {'encoder': inputs, 'decoder': slots(3)}
  tokens, token = shapes_of(run, make_backbone(dtype), batch)
  assert tokens.shape == (2, 3, 16) and token.shape == (6, 16)
  assert tokens.dtype == token.dtype == dtype


def test_mask_of_the_decoder():
  @checked
  def mask(
    modality: Int32[Array, 'B M'], attention: Int32[Array, 'B M']
  ) -> Bool[Array, 'B M M']:
    return visibility.decoder_mask(
      modality, attention, causal=False, separate=True
    )

  assert mask(zeros((2, 4), 'int32'), zeros((2, 4), 'int32')).shape == (2, 4, 4)


def test_encoder_of_the_backbone():
  modalities = modality_table.select([IMAGE, CODES])
  model = encoder.Encoder(modalities, 16, 3, 2, image_size=32)
  bands = len(modality_table.MODALITIES[IMAGE].bands)

  @checked
  def run(apply, inputs) -> list[Float32[Array, 'B N D']]:
    return apply(inputs)

  layers = shapes_of(
    run,
    model,
    {IMAGE: zeros((2, 32, 32, bands)), CODES: zeros((2, 2, 2), 'int32')},
  )
  assert [x.shape for x in layers] == [(2, 4, 16)] * 3


SMALL = dict(width=16, depth=1, num_heads=2, image_size=64)
UNET = dict(
  unet_width=8,
  unet_multipliers=(1, 2),
  unet_blocks=1,
  unet_attention=(2,),
  unet_groups=4,
)


@DTYPES
def test_image_tokenizer(dtype):
  model = image_tokenizer.make('S1GRD').clone(**SMALL, **UNET, dtype=dtype)
  Images, Ids = Float32[Array, 'B Y X C'], Int32[Array, 'B rows columns']

  @checked
  def denoise(
    apply, images: Images, noisy: Images, t: Int32[Array, 'B']
  ) -> Images:
    return apply(images, noisy, t)

  @checked
  def encode(
    apply, images: Images
  ) -> tuple[Ids, Float32[Array, 'B rows columns L']]:
    return tuple(apply(images, method=name) for name in ('encode', 'latents'))

  @checked
  def decode(apply, ids: Ids) -> Images:
    return apply(ids, jax.random.key(0), 2, method='decode')

  def run(apply, images, noisy, t):
    ids, latents = encode(apply, images)
    return ids, latents, decode(apply, ids), denoise(apply, images, noisy, t)

  images = zeros((2, 32, 48, 2))
  ids, latents, decoded, clean = shapes_of(
    run, model, images, images, zeros(2, 'int32')
  )
  assert ids.shape == (2, 2, 3) and latents.shape == (2, 2, 3, 5)
  assert decoded.shape == clean.shape == images.shape


@DTYPES
def test_tokenizer_of_land_cover(dtype):
  model = image_tokenizer.make('LULC').clone(
    **SMALL, decoder_depth=1, dtype=dtype
  )
  Logits, Ids = Float32[Array, 'B Y X V'], Int32[Array, 'B rows columns']

  @checked
  def logits(apply, classes: Int32[Array, 'B Y X']) -> Logits:
    return apply(classes)

  @checked
  def encode(apply, classes: Int32[Array, 'B Y X']) -> Ids:
    return apply(classes, method='encode')

  @checked
  def decode(apply, ids: Ids) -> Logits:
    return apply(ids, method='decode')

  def run(apply, classes):
    ids = encode(apply, classes)
    return ids, decode(apply, ids), logits(apply, classes)

  ids, decoded, trained = shapes_of(run, model, zeros((2, 32, 48), 'int32'))
  assert ids.shape == (2, 2, 3)
  assert decoded.shape == trained.shape == (2, 32, 48, 10)


@DTYPES
def test_series_tokenizer(dtype):
  model = series_tokenizer.SeriesTokenizer((5, 5, 5), 8, stride=2, dtype=dtype)
  Values, Steps = Float32[Array, 'B T'], Bool[Array, 'B T']

  @checked
  def run(
    apply, values: Values, present: Steps, inside: Steps
  ) -> tuple[
    Values,
    Float32[Array, 'B S C'],
    Float32[Array, 'B S C'],
    Bool[Array, 'B S'],
  ]:
    output = apply(values, present, inside)
    return tuple(output[k] for k in ('values', 'latents', 'codes', 'known'))

  steps = zeros((3, 24), 'bool')
  *_, codes, known = shapes_of(run, model, zeros((3, 24)), steps, steps)
  assert codes.shape == (3, 12, 3) and known.shape == (3, 12)


@DTYPES
@pytest.mark.parametrize('factored', [True, False])
def test_pixel_encoder(factored, dtype):
  model = pixel_encoder.PixelEncoder(
    64, 3, 2, 8, 6, dtype=dtype, factored_first_layer=factored
  )

  @checked
  def run(
    apply, pixels: Float32[Array, 'B T C k k'], keep: Bool[Array, 'B T']
  ) -> tuple[
    Float[Array, 'B E'], Float[Array, 'B N D'], Float[Array, 'L B N D']
  ]:
    tokens, visible = apply(pixels, keep, method='sequence')
    assert visible.shape == (2, 1, 1, 13) and visible.dtype == bool
    return apply(pixels, keep), tokens, apply(pixels, keep, method='layers')

  vectors, tokens, layers = shapes_of(
    run, model, zeros((2, 12, 10, 1, 1)), zeros((2, 12), 'bool')
  )
  assert vectors.shape == (2, 6) and tokens.shape == (2, 13, 64)
  assert layers.shape == (3, 2, 13, 64)
  assert vectors.dtype == tokens.dtype == layers.dtype == dtype


@DTYPES
def test_clip(dtype):
  model = clip.Clip(
    'gelu',
    width=6,
    image_size=8,
    patch=4,
    vision_width=16,
    vision_depth=1,
    vision_heads=2,
    vocab_size=20,
    context=5,
    text_width=8,
    text_depth=1,
    text_heads=2,
    dtype=dtype,
  )

  @checked
  def run(
    apply, pixels: Float32[Array, 'B Y Y 3'], ids: Int32[Array, 'M N']
  ) -> tuple[
    Float32[Array, 'B E'], Float32[Array, 'M E'], Float32[Array, 'B M']
  ]:
    images = apply(pixels, method='embed_images')
    texts = apply(ids, method='embed_texts')
    return images, texts, apply(pixels, ids)

  images, texts, cosines = shapes_of(
    run, model, zeros((2, 8, 8, 3)), zeros((3, 5), 'int32')
  )
  assert images.shape == (2, 6) and texts.shape == (3, 6)
  assert cosines.shape == (2, 3)


def test_a_wrong_shape_would_be_seen():
  @checked
  def add(x: Float32[Array, 'B D'], y: Float32[Array, 'B D']):
    return x + y

  with pytest.raises(jaxtyping.TypeCheckError, match='shape'):
    add(zeros((2, 3)), zeros((2, 1)))
