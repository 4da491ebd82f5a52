"""Trained image tokenizers in use: alone, over a data set, in pretraining."""

import json

import jax
import numpy as np
import pytest

import fusion_jax
from fusion_jax import datasets, modalities
from fusion_jax import runs as runs_lib
from fusion_jax.assembly import image_tokenizer as image_assembly
from fusion_jax.configs import image_tokenizer as tokenizer_config
from fusion_jax.configs import pretrain as pretrain_config
from fusion_jax.data import records
from fusion_jax.inference import image_codec
from fusion_jax.tasks import image_tokenizer
from tests.tasks import runner

TINY = dict(width=16, depth=1, num_heads=2, image_size=32, unroll=1)
UNET = dict(unet_width=8, unet_multipliers=(1, 2), unet_groups=4)


def make_config(modality, data_dir='', **changes):
  """Two steps of a tiny model on squares of 32 pixels."""
  config = tokenizer_config.get_config(f'modality={modality},smoke')
  config.update(
    dict(
      image_size=32,
      model=TINY | ({} if modality == 'LULC' else UNET),
      evals=dict(num_examples=2),
      data=dict(name='terramesh', dir=str(data_dir), holdout='split'),
    )
  )
  if modality == 'LULC':
    config.model.decoder_depth = 1
  else:
    config.evals.decode_steps = (1,)
  config.update(changes)
  return config


def make_codec(modality, seed=0):
  """A codec with fresh parameters."""
  config = make_config(modality)
  task = image_tokenizer.ImageTokenizer(config)
  bands = len(task.modality.bands)
  image = np.zeros((8, 32, 32, bands), np.float32)
  batch = {
    'image': image,
    'step': np.zeros(8, np.int32),
    'noise': np.zeros(8, np.uint32),
  }
  if modality == 'LULC':
    batch['image'] = image.astype(np.int32)
  else:
    rng = np.random.default_rng(seed)
    batch['image'] = rng.normal(size=image.shape).astype(np.float32)
  params = jax.jit(task.init)(jax.random.key(seed), batch)[0]
  return image_codec.ImageCodec(config, params)


@pytest.fixture(scope='module')
def dem():
  """A codec of elevations whose decoder does not start at 0."""
  codec = make_codec('DEM')
  decoder = codec.params['decoder']
  kernel = decoder['out']['kernel']
  drawn = np.random.default_rng(0).normal(size=kernel.shape)
  out = decoder['out'] | {'kernel': drawn.astype(np.float32)}
  params = codec.params | {'decoder': decoder | {'out': out}}
  return image_codec.ImageCodec(codec.config, params)


def elevations(count, seed=0):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 2_000, size=(count, 32, 48, 1)).astype(np.int16)


def test_codes_are_those_of_the_standardised_image(dem):
  images = elevations(3)
  codes = dem.encode(images)
  assert codes.dtype == np.uint16 and codes.shape == (3, 2, 3)
  assert len(np.unique(codes)) > 3
  task = image_tokenizer.ImageTokenizer(dem.config)
  modality = modalities.get('DEM', role='target')
  standard = (images - np.float32(modality.mean)) / np.float32(modality.std)
  expected = jax.jit(task.encode)(dem.params, standard.astype(np.float32))
  np.testing.assert_array_equal(codes, expected)


def test_any_number_of_images_fits_any_number_of_devices(dem):
  assert jax.device_count() == 8
  whole = dem.encode(elevations(9))
  np.testing.assert_array_equal(whole[:2], dem.encode(elevations(9)[:2]))
  assert dem.decode(whole).shape == (9, 32, 48, 1)


def test_decoded_images_are_in_the_unit_of_the_sensor():
  fresh = make_codec('DEM')  # Its decoder predicts 0, the mean of elevations.
  images = fresh.decode(fresh.encode(elevations(2)), num_steps=2)
  assert images.dtype == np.float32
  np.testing.assert_allclose(images, 670.665, rtol=1e-6)


def test_the_published_sampling_can_be_asked_for(dem):
  codes = dem.encode(elevations(2) + np.int16(4_000))
  model, stds = image_assembly.make_model(dem.config), (670.665, 951.272)
  seeds = np.random.default_rng(5).integers(2**32, size=2, dtype=np.uint32)
  start = np.stack(
    [jax.random.normal(jax.random.key(seed), (32, 48, 1)) for seed in seeds]
  )
  for steps, clip in (1, 1.0), (3, 1.0), (1, np.inf):
    expected = model.apply(
      {'params': dem.params},
      model.fsq.from_indices(codes.astype(int)),
      start,
      steps,
      clip,
      method='sample',
    )
    result = dem.decode(codes, num_steps=steps, seed=5, clip=clip)
    np.testing.assert_allclose(
      (result - stds[0]) / stds[1], expected, atol=1e-4
    )
    assert (result.max() > 670.665 + 951.272 + 0.1) == np.isinf(clip)
  with pytest.raises(ValueError, match='clip=0 is not above 0'):
    dem.decode(codes, clip=0)


def test_a_gap_counts_as_the_mean(dem):
  image = elevations(3).astype(np.float32)
  image[0, 3, 4] = np.nan
  filled = np.where(np.isnan(image), np.float32(670.665), image)
  np.testing.assert_array_equal(dem.encode(image), dem.encode(filled))


def test_classes_come_back_as_classes():
  codec = make_codec('LULC')
  image = np.random.default_rng(0).integers(10, size=(1, 32, 32, 1))
  result = codec.decode(codec.encode(image.astype(np.uint8)))
  assert result.dtype == np.uint8 and result.max() < 10


@pytest.mark.parametrize(
  'images, message',
  [
    (np.zeros((32, 32, 1)), r'\(32, 32, 1\).*rows, columns, bands'),
    (np.zeros((1, 32, 32, 2)), 'elevation'),
    (np.zeros((1, 32, 40, 1)), '16'),
  ],
)
def test_other_images_raise(dem, images, message):
  with pytest.raises(ValueError, match=message):
    dem.encode(images)


def test_codes_outside_the_vocabulary_raise(dem):
  with pytest.raises(ValueError, match='15359'):
    dem.decode(np.full((1, 2, 2), 15_360))


def test_a_fingerprint_stands_for_the_encoder(dem):
  assert dem.fingerprint() == make_codec('DEM').fingerprint()  # Of encoders.
  assert dem.fingerprint() != make_codec('DEM', seed=1).fingerprint()
  assert dem.fingerprint() != make_codec('NDVI').fingerprint()


@pytest.mark.slow
def test_tokenizers_train_tokenize_and_pretrain(tmp_path):
  """Everything together: raw Sentinel-2, six tokens, place and weather."""
  data_dir = datasets.prepare(
    datasets.Simulated(
      image_size=40, splits=dict(train=32, val=16), examples_per_shard=16
    ),
    tmp_path / 'data',
    datasets.BuildSettings(num_workers=1),
  )
  runs = []
  for modality in tokenizer_config.MODALITIES:
    runs.append(str(tmp_path / modality))
    runs_lib.run(make_config(modality, data_dir), runs[-1])
    assert json.loads((tmp_path / modality / 'metrics.json').read_text())
  step = datasets.Codes(
    data=str(data_dir), tokenizers=tuple(runs), image_size=32, squares=2
  )
  assert datasets.write_codes(step)
  assert datasets.write_codes(step)  # Done: not once more.
  examples = records.Examples(data_dir, 'train')
  for run in runs:
    codec = fusion_jax.load(run)
    field = codec.modality.field
    example = next(x for x in (examples[i] for i in range(32)) if x[field].size)
    top, left = example['codes/corners'][1]
    image = example[field][top : top + 32, left : left + 32]
    np.testing.assert_array_equal(
      example[f'codes/{codec.modality.name}'][1], codec.encode(image[None])[0]
    )
  config = runner.config(data_dir, num_steps=2)
  with config.unlocked():
    config.modalities = (
      pretrain_config.IMAGE
      | pretrain_config.TOKENISED
      | pretrain_config.COORDS
      | pretrain_config.WEATHER
    )
  runs_lib.run(config, tmp_path / 'pretraining')
  numbers = json.loads((tmp_path / 'pretraining' / 'metrics.json').read_text())
  for name in pretrain_config.TOKENISED:
    assert 0 < numbers[f'train/loss/{name}'] < 12
