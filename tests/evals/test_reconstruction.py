"""Scores of held-out images, checked with tokenizers that are known."""

import json
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import pipelines
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.data.transforms import tiles as tile_sources
from fusion_jax.evals import reconstruction, reconstruction_scores
from fusion_jax.ops import image_metrics


class Rounded:
  """Stores each patch's mean to the next eighth, or its top left class."""

  num_codes = 512
  holdout = 'Held out is the eastern third.'

  def __init__(self, field, scenes):
    self.modality = modalities.get(field, role='target')
    self._scenes = [
      {'key': f'scene {i}', field: image} for i, image in enumerate(scenes)
    ]

  def tiles(self, split):
    columns = tile_sources.east if split == 'val' else tile_sources.west
    result = tile_sources.Tiles(self._scenes, self.modality.field, 32, columns)
    mean, std = self.modality.mean, self.modality.std
    steps = [
      tile_transforms.Standardise(self.modality, mean, std),
      tile_transforms.DrawNoise(1_000),
      tile_transforms.Keep(
        ('image', 'present', 'counted', 'scene', 'corner', 'noise')
      ),
    ]
    return result, pipelines.eval_batches(result, steps, batch_size=4, seed=0)

  def encode(self, params, images):
    del params
    batch, height, width, _ = images.shape
    cut = images.reshape(batch, height // 16, 16, width // 16, 16)
    if images.dtype == jnp.int32:
      return cut[:, :, 0, :, 0]
    return jnp.round(cut.mean((2, 4)) * 8).astype(jnp.int32) + 256

  def decode(self, params, codes, seeds, num_steps):
    del params, seeds
    images = codes.repeat(16, 1).repeat(16, 2)[..., None]
    if self.modality.field == 'LULC':
      return images
    return (images - 256) / 8 + (num_steps - 1)  # Each further step: worse.


def run(task, tmp_path):
  """The evaluation at its last step, its numbers, and its report."""
  config = ml_collections.ConfigDict(
    dict(num_steps=5, evals=dict(every=2, decode_steps=(1, 2)))
  )
  result = reconstruction.Reconstruction(
    task, config, tmp_path, place=jax.device_put
  )
  state = types.SimpleNamespace(eval_params={}, step=5)
  numbers = result(state, 5)
  history = [{'step': i, 'train/loss': 1 / (i + 1)} for i in range(5)]
  result.write(state, [*history, {'step': 5} | numbers], duration_s=60)
  return result, numbers, (tmp_path / 'report.md').read_text()


@pytest.fixture(scope='module')
def elevations():
  """Two scenes, standardised and in metres; the second has a gap."""
  rng = np.random.default_rng(0)
  smooth = rng.normal(size=(2, 4, 6)).repeat(16, 1).repeat(16, 2)
  standard = smooth + 0.1 * rng.normal(size=smooth.shape)
  modality = modalities.get('DEM', role='target')
  metres = standard * modality.std[0] + modality.mean[0]
  metres[1, 3, 70] = np.nan
  return standard, metres[..., None]


@pytest.fixture(scope='module')
def scored(elevations, tmp_path_factory):
  return run(Rounded('DEM', elevations[1]), tmp_path_factory.mktemp('dem'))


def test_scores_are_those_of_the_held_out_pixels(elevations, scored):
  east = elevations[0][:, :, 64:].copy()
  cut = east.reshape(2, 4, 16, 2, 16)
  rounded = np.round(cut.mean((2, 4), keepdims=True) * 8) / 8
  errors = {
    '': np.broadcast_to(rounded, cut.shape) - cut,
    'patch_mean/': cut.mean((2, 4), keepdims=True) - cut,
    'scene_mean/': cut - cut.mean((1, 2, 3, 4), keepdims=True),
  }
  _, numbers, _ = scored
  for name, error in errors.items():
    # One of 4,096 pixels is missing.
    assert numbers[f'eval/{name}psnr_db'] == pytest.approx(
      image_metrics.psnr_db((error**2).mean()), abs=0.02
    )
  assert numbers['eval/mae'] == pytest.approx(abs(errors['']).mean(), rel=1e-2)
  assert numbers['eval/r2'] == pytest.approx(
    1 - (errors[''] ** 2).sum() / ((east - east.mean()) ** 2).sum(), abs=2e-3
  )
  assert numbers['eval/clipped_psnr_db'] < numbers['eval/psnr_db']
  assert 0 < numbers['eval/ssim'] < 1


def test_small_errors_keep_their_digits_and_constant_scenes_are_exact():
  modality = modalities.get('DEM', role='target')
  shape = (48, 48)
  result = reconstruction_scores.new(
    modality, [('sea', (0, 0), shape), ('plain', (0, 0), shape)], (1,), 9
  )
  for scene, height in enumerate((-0.70502, 0.5)):
    truth = np.full((*shape, 1), height, np.float32)
    row = {
      'image': truth,
      'counted': np.ones(shape, bool),
      'present': np.ones(shape, bool),
      'codes': np.zeros((3, 3), int),
      'scene': scene,
      'corner': (0, 0),
    }
    result.add(row, {1: truth + np.float32(0.002)})
  together, apart, _ = result.tables()
  assert '| 4e-06 | 0.002 |' in together
  assert '| sea | 60.0 | exact | exact |' in apart
  # What rounding leaves of a constant scene's error counts as none.
  assert reconstruction_scores._decibels(166.0) == 'exact'


def test_codes_in_use_are_counted(scored):
  result, numbers, _ = scored
  assert result.scores.counts.sum() == 2 * 4 * 2
  assert result.scores.train_counts.sum() == 2 * 4 * 4
  assert numbers['eval/codes_used'] == (result.scores.counts > 0).sum()


def test_every_number_of_steps_is_judged_and_the_first_leads(scored):
  _, numbers, report = scored
  assert numbers['eval/psnr_db'] == numbers['eval/steps_1/psnr_db']
  assert numbers['eval/steps_2/psnr_db'] < 6
  assert 'model, 2 DDIM steps' in report


def test_the_report_shows_pictures_scenes_and_the_holdout(scored, tmp_path):
  result, _, report = scored
  assert 'Held out is the eastern third.' in report
  assert '| scene 1 |' in report
  for name in ('reconstructions', 'codes', 'learning_curve'):
    assert f'pictures/{name}.png' in report
    assert (result._workdir / 'pictures' / f'{name}.png').stat().st_size > 5_000
  numbers = json.loads((result._workdir / 'metrics.json').read_text())
  assert numbers['train/steps'] == 5 and 'eval/psnr_db' in numbers


def test_pictures_are_put_together_from_their_squares(elevations, scored):
  canvas = scored[0].scores.canvases[0]
  np.testing.assert_allclose(
    canvas['truth'][..., 0], elevations[0][0][:, 64:], atol=1e-5
  )


def test_before_the_end_only_the_leading_steps_are_judged(elevations, tmp_path):
  task = Rounded('DEM', elevations[1])
  config = ml_collections.ConfigDict(
    dict(num_steps=5, evals=dict(every=2, decode_steps=(1, 2)))
  )
  result = reconstruction.Reconstruction(
    task, config, tmp_path, place=jax.device_put
  )
  numbers = result(types.SimpleNamespace(eval_params={}), 4)
  assert 'eval/psnr_db' in numbers and 'eval/steps_2/psnr_db' not in numbers


def test_classes_are_judged_by_accuracy_and_iou(tmp_path):
  scene = np.full((64, 96, 1), 4, np.uint8)
  scene[:, 64:80] = 1
  scene[16:28, 80:] = 7  # Of 16 rows: the majority, but not at the top left.
  scene[16:20, 80:] = 2
  _, numbers, report = run(Rounded('LULC', [scene]), tmp_path)
  wrong = 12 * 16  # What is not 2 in that patch.
  assert numbers['eval/accuracy'] == pytest.approx(1 - wrong / (64 * 32))
  assert numbers['eval/patch_majority/accuracy'] == pytest.approx(
    1 - 8 * 16 / (64 * 32)
  )
  assert numbers['eval/miou'] < numbers['eval/patch_majority/miou']
  assert 'mIoU' in report and 'PSNR' not in report
