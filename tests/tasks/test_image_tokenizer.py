"""The image tokenizer task: configurations, losses, starts, whole runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax import runs as runs_lib
from fusion_jax.assembly import image_tokenizer as image_assembly
from fusion_jax.configs import image_tokenizer as tokenizer_config
from fusion_jax.models import image_tokenizer as models
from fusion_jax.tasks import image_tokenizer
from fusion_jax.train import loop, optim, sharding, step

TINY = dict(width=16, depth=1, num_heads=2, image_size=32, unroll=1)
UNET = dict(unet_width=8, unet_multipliers=(1, 2), unet_groups=4)


def make_config(modality='NDVI', **changes):
  """The mini configuration with a tiny model on squares of 32 pixels."""
  config = tokenizer_config.get_config(f'modality={modality},smoke')
  config.update(
    dict(
      image_size=32,
      model=TINY | ({} if modality == 'LULC' else UNET),
      evals=dict(num_examples=2),
      data=dict(name='terramesh'),
    )
  )
  if modality == 'LULC':
    config.model.decoder_depth = 1
  else:
    config.evals.decode_steps = (1, 2)
  with config.unlocked():
    config.update(changes)
  return config


class InMemory(image_tokenizer.ImageTokenizer):
  """The task on three scenes of 64 x 96 pixels, without a data set."""

  def source(self, split):
    rng = np.random.default_rng(0)
    field = self.modality.field
    scenes = []
    for key in 'abc':
      if field == 'LULC':
        image = rng.integers(10, size=(64, 96, 1)).astype(np.uint8)
      else:
        bands = len(self.modality.bands)
        image = rng.normal(size=(64, 96, bands)) * self.modality.std
        image = (image + self.modality.mean).astype(np.float32)
        image[:, 64:] = 1e6  # What a training square must not touch.
      scenes.append({'key': key, field: image})
    return scenes


@pytest.fixture(scope='module')
def task():
  return InMemory(make_config())


@pytest.fixture(scope='module')
def batch(task):
  return next(task.batches('train'))


@pytest.fixture(scope='module')
def params(task, batch):
  return jax.jit(task.init)(jax.random.key(0), batch)[0]


def loss_of(task, params, batch):
  loss, (metrics, _) = jax.jit(
    lambda p, b: task.loss(p, {}, task.weigh(b), None)
  )(params, batch)
  return float(loss), {
    name: tuple(map(float, x)) for name, x in metrics.items()
  }


@pytest.mark.parametrize(
  'size, modality',
  [
    ('mini', 'S2L2A'),
    ('mini', 'DEM'),
    ('mini', 'LULC'),
    ('base', 'S1RTC'),
    ('base', 'LULC'),
  ],
)
def test_every_kind_of_configuration_starts(size, modality):
  config = tokenizer_config.get_config(f'modality={modality},size={size}')
  task = image_tokenizer.ImageTokenizer(config)
  side = config.image_size
  images = jnp.zeros((1, side, side, len(task.modality.bands)))
  batch = {
    'image': images,
    'step': jnp.zeros(1, jnp.int32),
    'noise': jnp.zeros(1, jnp.uint32),
  }
  if modality == 'LULC':
    batch['image'] = images.astype(jnp.int32)
  shapes = jax.eval_shape(task.init, jax.random.key(0), batch)[0]
  assert 'to_latents' in shapes


@pytest.mark.parametrize('modality', tokenizer_config.MODALITIES)
def test_every_modality_and_data_set_has_a_configuration(modality):
  for size in tokenizer_config.SIZES:
    for data in tokenizer_config.DATA:
      task = image_tokenizer.ImageTokenizer(
        tokenizer_config.get_config(
          f'modality={modality},size={size},data={data}'
        )
      )
      assert task.num_codes == task.modality.vocab_size


def test_elevations_have_the_plain_image_tokenizer():
  task = image_tokenizer.ImageTokenizer(
    tokenizer_config.get_config('modality=DEM')
  )
  ndvi = image_tokenizer.ImageTokenizer(
    tokenizer_config.get_config('modality=NDVI')
  )
  assert task.model == ndvi.model


@pytest.mark.parametrize('modality', tokenizer_config.MODALITIES)
def test_the_base_size_is_the_published_one(modality):
  config = tokenizer_config.get_config(f'modality={modality},size=base')
  published = models.make(modality)
  made = image_assembly.make_model(config)
  assert made == published


def test_a_modality_without_codes_raises():
  with pytest.raises(ValueError, match='coords has no image tokenizer'):
    image_assembly.token_modality('coords')


def test_unknown_arguments_list_the_choices():
  with pytest.raises(ValueError, match='S1GRD.*LULC'):
    tokenizer_config.get_config('modality=S2L1C')
  with pytest.raises(ValueError, match='mini'):
    tokenizer_config.get_config('size=huge')


def test_standards_of_other_bands_raise():
  config = make_config()
  config.modality = 'S2L2A'
  with pytest.raises(ValueError, match='1 means.*12 bands of S2L2A'):
    image_tokenizer.ImageTokenizer(config)


def test_a_start_that_does_not_exist_raises():
  with pytest.raises(ValueError, match="start='zero'.*random"):
    image_tokenizer.ImageTokenizer(make_config(start='zero'))


def test_a_holdout_that_does_not_exist_raises():
  config = make_config()
  config.data.holdout = 'west'
  with pytest.raises(ValueError, match="holdout='west'.*east"):
    image_tokenizer.ImageTokenizer(config)


def test_an_unknown_flip_raises():
  with pytest.raises(ValueError, match="flips='some'.*mirror"):
    InMemory(make_config(flips='some')).batches('train')


def test_training_never_sees_the_held_out_third(task):
  batches = task.batches('train')
  assert max(next(batches)['image'].max() for _ in range(20)) < 10
  result, held_out = task.tiles('val')
  assert {scene[0] for scene in result.scenes} <= set('abc')
  values = np.concatenate([x['image'][x['valid']] for x in held_out])
  assert values.min() > 100


def test_the_loss_is_the_squared_error_of_the_present_pixels(
  task, params, batch
):
  output = jax.jit(
    lambda p: task.model.apply({'params': p}, *task._inputs(batch))
  )(params)
  errors = (np.asarray(output) - batch['image'])[..., 0] ** 2
  present = batch['present'].copy()
  present[:3] = False
  loss, _ = loss_of(task, params, batch | {'present': present})
  metrics = loss_of(task, params, batch)[1]
  uneven = metrics['spread'][0]
  assert uneven > 0
  assert loss == pytest.approx(errors[3:].mean() + 0.01 * uneven, rel=1e-4)


def test_the_loss_of_noise_alone_stands_apart(task, params, batch):
  steps = np.array([999] * 3 + [500] * 5, np.int32)
  batch = batch | {'step': steps}
  loss, metrics = loss_of(task, params, batch)
  total, count = metrics['last']
  assert count == pytest.approx(3 / 8)
  output = jax.jit(
    lambda p: task.model.apply({'params': p}, *task._inputs(batch))
  )(params)
  errors = (np.asarray(output) - batch['image'])[:3] ** 2
  assert total / count == pytest.approx(errors.mean(), rel=1e-4)


def test_noise_belongs_to_the_example(task, batch):
  _, noisy, _ = task._inputs(batch)
  swapped = {name: x[::-1] for name, x in batch.items()}
  np.testing.assert_array_equal(task._inputs(swapped)[1], noisy[::-1])


def test_a_start_from_data_spreads_the_codes(task, params, batch):
  """`params` start from data; without, all latents are about alike."""
  latents = jax.jit(
    lambda p: task.model.apply({'params': p}, batch['image'], method='latents')
  )
  assert image_tokenizer.spread(latents(params)) < 1e-3
  fresh = jax.jit(
    lambda key: task.model.init(key, batch['image'], method='latents')
  )(jax.random.key(0))['params']
  assert image_tokenizer.spread(latents(fresh)) > 0.1


def test_the_decoder_sees_codes_and_noise_only(task, params, batch):
  codes = jax.jit(task.encode)(params, batch['image'])
  assert codes.shape == (8, 2, 2)
  decode = jax.jit(task.decode, static_argnums=3)
  for steps in (1, 2):
    images = decode(params, codes, batch['noise'], steps)
    assert images.shape == batch['image'].shape
    again = decode(params, codes[:4], batch['noise'][:4], steps)
    np.testing.assert_allclose(again, images[:4], atol=1e-5)


@pytest.mark.slow
def test_bfloat16_leaves_parameters_and_losses_float32(batch):
  task = InMemory(make_config())
  config = make_config()
  config.model.dtype = 'bfloat16'
  short = InMemory(config)
  params = jax.jit(short.init)(jax.random.key(0), batch)[0]
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}
  assert loss_of(short, params, batch)[0] == pytest.approx(
    loss_of(task, params, batch)[0], rel=0.02
  )


def test_classes_have_a_cross_entropy():
  task = InMemory(make_config('LULC'))
  batch = next(task.batches('train'))
  params = jax.jit(task.init)(jax.random.key(0), batch)[0]
  _, metrics = loss_of(task, params, batch)
  total, count = metrics['loss/tok_lulc@224']
  assert total / count == pytest.approx(np.log(10), abs=0.3)
  codes = jax.jit(task.encode)(params, batch['image'])
  assert codes.max() < 4_375
  images = jax.jit(task.decode)(params, codes)
  assert images.shape == batch['image'].shape and images.max() < 10


def test_a_data_set_without_the_modality_lists_its_fields(tmp_path):
  from fusion_jax import datasets

  recipe = datasets.Simulated(
    image_size=32, images=('LULC',), splits=dict(train=2, val=1)
  )
  datasets.prepare(recipe, tmp_path, datasets.BuildSettings(num_workers=1))
  task = image_tokenizer.ImageTokenizer(make_config(), tmp_path)
  with pytest.raises(ValueError, match='no NDVI.*LULC'):
    task.batches('train')


def test_latents_that_use_all_codes_are_spread():
  rng = np.random.default_rng(0)
  even = rng.logistic(size=(50, 20, 20, 3)).astype(np.float32)
  assert image_tokenizer.spread(even) < 0.01
  for worse in (even + 3, 2 * even, even / 10, even[..., :1].repeat(3, -1)):
    assert image_tokenizer.spread(worse) > 0.2


@pytest.mark.slow
def test_micro_batches_add_up_to_one_batch(task, params, batch):
  whole, parts = (
    jax.jit(
      lambda p, k=k: step.gradients(task, p, {}, batch, jax.random.key(0), k)[2]
    )(params)
    for k in (1, 4)
  )
  name = 'loss/tok_ndvi@224'
  np.testing.assert_allclose(whole[name], parts[name], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.multi_device
def test_any_mesh_gives_the_same_losses(tmp_path):
  losses = []
  for devices, fsdp in ((1, 1), (8, 4)):
    config = make_config()
    task = InMemory(config)
    _, history = loop.train(
      task,
      optim.make(config.optimizer, 4),
      loop.Settings(
        num_steps=4, batch_size=8, seed=0, log_every=1, checkpoint_every=0
      ),
      workdir=tmp_path / str(devices),
      mesh=sharding.make_mesh(fsdp, jax.devices()[:devices]),
    )
    losses.append([record['train/loss'] for record in history])
  assert len(set(losses[0])) == 4
  np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow
def test_a_run_on_the_real_samples_ends_with_a_report(tmp_path):
  config = make_config('S2L2A', num_steps=3)
  config.data.name = 'samples'
  runs_lib.run(config, tmp_path)
  report = (tmp_path / 'report.md').read_text()
  assert '282D_485L_3_3' in report and 'eastern third' in report
  assert 'scene mean' in report or "scene's mean" in report


def test_modalities_of_the_table_have_a_configuration():
  tokenised = {
    m.field for m in modalities.MODALITIES.values() if m.kind == 'tokens'
  }
  assert set(tokenizer_config.MODALITIES) == tokenised
