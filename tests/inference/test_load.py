"""Runs of earlier versions load and give the same."""

import json

import numpy as np
import pytest

import fusion_jax
from fusion_jax import inference, runs
from tests import trained

NEW_FIELDS = (
  'init_from',
  'init_new',
  'init_without',
  'word_dropout',
  'series_codes',
  'num_series_codes',
)


def change_config(folder, change):
  """Rewrites the configuration in the metadata of the run's checkpoint.

  The checkpoint has no checksums then, and its file has the earlier name, as
  one of an earlier version.
  """
  checkpoint = folder / 'checkpoints' / '3'
  path = checkpoint / 'metadata' / 'data.json'
  metadata = json.loads(path.read_text())
  change(metadata['config'])
  path.with_name('metadata').write_text(json.dumps(metadata))
  path.unlink()
  (checkpoint / 'checksums.json').unlink()


def test_a_run_of_an_earlier_version_gives_the_same(tmp_path):
  trained.write_workdir(tmp_path)
  images = 2_000 + 1_000 * np.random.default_rng(0).normal(size=(2, 32, 32, 12))
  inputs = {'S2L2A': images.astype(np.int16)}
  before = fusion_jax.load(tmp_path).encode(inputs)

  def remove_new_fields(config):
    for name in NEW_FIELDS:
      del config[name]

  change_config(tmp_path, remove_new_fields)
  model = fusion_jax.load(tmp_path)
  assert model.config.series_codes == ()
  np.testing.assert_array_equal(model.encode(inputs), before)


def test_a_run_of_another_task_names_its_folder_and_the_choices(tmp_path):
  trained.write_workdir(tmp_path)
  change_config(tmp_path, lambda config: config.update(task='segment'))
  with pytest.raises(ValueError, match="'segment'.*image_tokenizer") as error:
    fusion_jax.load(tmp_path)
  assert str(tmp_path) in str(error.value)


def test_a_model_of_another_kind_is_named_with_what_is_wanted(tmp_path):
  trained.write_workdir(tmp_path)
  model = inference.load_as(fusion_jax.BackboneModel, tmp_path)
  assert model.config.task == 'pretrain'
  with pytest.raises(
    ValueError, match='holds a backbone .*this needs a CLIP. Name the'
  ):
    inference.load_as(fusion_jax.ClipModel, tmp_path)


def test_a_resumed_run_compares_what_it_read_with_its_upgraded_configuration():
  config = trained.pretrain_config.get_config('smoke')
  settings = runs.loop_settings(config)
  earlier = dict(settings.config)
  del earlier['series_codes']
  assert settings.upgrade_config(earlier) == settings.config
