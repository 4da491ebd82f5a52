"""The image tokenizers against recorded outputs of the reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax.convert import terramind_tokenizers
from fusion_jax.nn import unet
from fusion_jax.ops import noise
from tests import golden_tokenizers as golden

near = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
VARIANTS = [
  ('diffusion', 'native', 'x'),
  ('diffusion', 'resized', 'x_resized'),
  ('diffusion', 'nonsquare', 'x_nonsquare'),
  ('lulc', 'from_class_map', 'classes'),
  ('lulc', 'from_b1hw', 'classes'),
  ('lulc', 'from_onehot', 'classes'),
]
EVERY_VARIANT = pytest.mark.parametrize('name, variant, images', VARIANTS)


def images_of(name, variant, images):
  """The input of a variant; class maps in its own form."""
  images = golden.load(name).inputs(images)
  if variant == 'from_b1hw':
    return images[..., None]
  if variant == 'from_onehot':
    return np.eye(10, dtype='f')[images]
  return images


@EVERY_VARIANT
def test_encoder_is_the_references(name, variant, images):
  case, images = golden.load(name), images_of(name, variant, images)
  features, layers = golden.compiled(name, 'features', keep_all=True)(images)
  near(features, case[f'{variant}/encoder_out'])
  if variant == 'native':  # The last was recorded after the final MLP.
    first, last = (case[f'native/encoder_layers/{i:02d}'] for i in range(2))
    near(layers[0].reshape(first.shape), first)
    near(features, last)


@EVERY_VARIANT
def test_codes_and_ids_are_the_references(name, variant, images):
  case, images = golden.load(name), images_of(name, variant, images)
  latents = golden.compiled(name, 'latents')(images)
  quantiser = case.model.fsq
  codes = quantiser.quantize(latents)
  ids = quantiser.to_indices(codes)
  near(latents, case[f'{variant}/latent'])
  near(codes, case[f'{variant}/quantised'], atol=1e-7)
  np.testing.assert_array_equal(ids, case[f'{variant}/tokens'])
  near(
    quantiser.from_indices(ids),
    case[f'{variant}/tokens_to_embedding'],
    atol=1e-7,
  )
  # The margin is in levels; ours must be the same, and nothing near a tie.
  position = np.asarray(quantiser.position(latents))
  margin = 0.5 - np.abs(position - np.round(position)).max()
  near(margin, case[f'{variant}/rounding_margin_min'])
  assert case[f'{variant}/code_loss'] == 0  # Nothing of it in ours.


def test_ids_come_from_encode():
  for name, variant, images in VARIANTS[2:4]:
    ids = golden.compiled(name, 'encode')(images_of(name, variant, images))
    np.testing.assert_array_equal(ids, golden.load(name)[f'{variant}/tokens'])


def denoise(noisy, t, variant='native', drop=None):
  case = golden.load('diffusion')
  codes = case[f'{variant}/quantised']
  drop = np.zeros(codes.shape[:3], bool) if drop is None else drop
  return golden.compiled('diffusion', 'denoise')(
    noisy, np.broadcast_to(t, len(noisy)).astype('i'), codes, drop
  )


@pytest.mark.parametrize('t', [0, 1, 500, 999])
def test_unet_is_the_references(t):
  case = golden.load('diffusion')
  near(denoise(case.inputs('noisy'), t), case[f'unet_t{t:04d}'])


def test_unet_with_a_level_an_image_is_the_references():
  case = golden.load('diffusion')
  near(
    denoise(case.inputs('noisy'), case.inputs('t_batch')), case['unet_t_batch']
  )


def test_dropped_codes_are_the_references():
  case = golden.load('diffusion')
  noisy = case.inputs('noisy')
  near(
    denoise(noisy, 500, drop=case.inputs('cond_mask')),
    case['unet_t500_cond_mask'],
  )
  # The reference's flag for unconditional predictions has no effect.
  near(denoise(noisy, 500), case['unet_t500_unconditional_flag'])


@pytest.mark.slow
def test_unet_of_a_wide_image_is_the_references():
  case = golden.load('diffusion')
  right = ((0, 0), (0, 0), (0, 32), (0, 0))
  noisy = np.pad(case.inputs('noisy')[:1], right)
  near(denoise(noisy, 250, 'nonsquare'), case['unet_nonsquare_t250'])


def test_time_embedding_is_the_references():
  case = golden.load('diffusion')
  t = jnp.array([0, 1, 17, 999])
  width = case.model.unet_width
  near(unet.waves(t, width), case['timestep_embedding_sinusoid'])
  embedded = unet.TimeEmbedding(width).apply(
    {'params': case.params['decoder']['time']}, t
  )
  near(embedded, case['timestep_embedding_mlp'])


@functools.cache
def training_step():
  """Prediction, loss and gradients of the recorded training step."""
  case = golden.load('diffusion')
  images = case.inputs('x')
  noisy = noise.add_noise(
    images, case.inputs('noise'), case.inputs('t_batch'), noise.signal_shares()
  )

  def loss(params):
    clean = case.model.apply(
      {'params': params}, images, noisy, case.inputs('t_batch')
    )
    return jnp.mean((clean - images) ** 2), clean

  (value, clean), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(
    case.params
  )
  near(noisy, case['train_noisy'], atol=1e-5)
  return value, clean, terramind_tokenizers.to_terramind(gradients, case.model)


@pytest.mark.slow
def test_training_loss_is_the_references():
  case = golden.load('diffusion')
  value, clean, _ = training_step()
  near(clean, case['train_dec'])
  near(value, case['train_mse'], atol=1e-5)


@pytest.mark.slow
def test_training_gradients_are_the_references():
  case, (*_, gradients) = golden.load('diffusion'), training_step()
  names = case.names('train_grad_norms/')
  assert len(names) == 256
  norms = {name: float(case[f'train_grad_norms/{name}']) for name in names}
  for name, norm in norms.items():
    np.testing.assert_allclose(
      np.linalg.norm(gradients[name]),
      norm,
      rtol=1e-4,
      atol=1e-4 * max(norms.values()),
      err_msg=name,
    )
  for name in case.names('train_grad_samples/'):
    expected = case.io[f'outputs/train_grad_samples/{name}']
    np.testing.assert_allclose(
      gradients[name],
      expected,
      rtol=0,
      atol=1e-4 * np.abs(expected).max(),
      err_msg=name,
    )


@pytest.mark.slow
@pytest.mark.parametrize('steps', [10, 3, 7])
def test_sampling_is_the_references(steps):
  case = golden.load('diffusion')
  codes = case.model.fsq.from_indices(case['native/tokens'])
  images, every, predictions = golden.compiled(
    'diffusion', 'sample', num_steps=steps, keep_all=True
  )(codes, case.inputs(f'start_noise_{steps}'))
  np.testing.assert_array_equal(
    noise.time_steps(steps), case[f'ddim_{steps}_timesteps']
  )
  near(images, case[f'ddim_{steps}_final'], atol=1e-3)
  near(every[-1], images, atol=0)
  if steps == 10:  # Of the first image, with all that comes between.
    near(every[:, :1], case['ddim_10_images'], atol=1e-3)
    near(predictions[:, :1], case['ddim_10_model_outputs'], atol=1e-3)


@pytest.mark.slow
def test_there_and_back_is_the_references():
  case = golden.load('diffusion')
  codes = golden.compiled('diffusion', 'codes')(case.inputs('x'))
  images = golden.compiled('diffusion', 'sample', num_steps=4)(
    codes, case.inputs('start_noise_forward')
  )
  near(images, case['forward_4_steps'], atol=1e-3)


def test_every_code_of_land_cover_is_the_references():
  case = golden.load('lulc')
  near(
    case.model.fsq.from_indices(np.arange(4_375)), case['codebook'], atol=1e-7
  )


def test_logits_of_ids_are_the_references():
  case = golden.load('lulc')
  logits = golden.compiled('lulc', 'decode')(case['from_class_map/tokens'])
  near(logits, case['decode_tokens'])
  np.testing.assert_array_equal(logits.argmax(-1), case['decode_tokens_argmax'])
  near(
    golden.compiled('lulc', 'decode')(case.inputs('tokens_resized')),
    case['decode_tokens_resized'],
  )


def test_reconstruction_of_land_cover_is_the_references():
  case = golden.load('lulc')
  classes = case.inputs('classes')
  logits = golden.compiled('lulc', '__call__')(classes)
  near(logits, case['reconstruction_logits'])
  picked = np.take_along_axis(
    np.asarray(jax.nn.log_softmax(logits)), classes[..., None], -1
  )
  near(-picked.mean(), case['cross_entropy'], atol=1e-5)
