"""Configurations of earlier versions are brought up to date or refused."""

import json

import ml_collections
import pytest

from fusion_jax.assembly import upgrade
from fusion_jax.configs import (
  align_pixels,
  image_tokenizer,
  pretrain,
  series_tokenizer,
  worldcereal,
)

CARDS = {
  'pretrain': pretrain.get_config(),
  'pretrain on samples': pretrain.get_config('data=samples'),
  'image_tokenizer': image_tokenizer.get_config(),
  'class tokenizer': image_tokenizer.get_config('modality=LULC,data=simulated'),
  'series_tokenizer': series_tokenizer.get_config(),
  'align_pixels': align_pixels.get_config(),
  'classify_pixels': align_pixels.get_config('supervised=crops'),
  'worldcereal': worldcereal.get_config(),
}


def stored(card):
  """A recipe card as it lies in the metadata of a checkpoint."""
  return json.loads(CARDS[card].to_json())


def section(config, path):
  """The section that a dotted path ends in, and the field's name in it."""
  *parents, name = path.split('.')
  for parent in parents:
    config = config[parent]
  return config, name


def without(config, path):
  """The configuration as it was before a field was added."""
  parent, name = section(config, path)
  del parent[name]
  return config


@pytest.mark.parametrize('card', CARDS)
def test_recipe_cards_of_this_version_stay_as_they_are(card):
  assert upgrade.upgrade(CARDS[card]).to_dict() == CARDS[card].to_dict()
  assert json.loads(upgrade.upgrade(stored(card)).to_json()) == stored(card)


@pytest.mark.parametrize('card', CARDS)
def test_fields_that_an_earlier_version_lacks_keep_what_it_did(card):
  config, expected = stored(card), stored(card)
  steps = upgrade.STEPS[config['task']]
  for step in (x for x in steps if isinstance(x, upgrade.Added)):
    without(config, step.path)
    parent, name = section(expected, step.path)
    parent[name] = step.value
  assert upgrade.upgrade(config).to_dict() == expected


def test_the_argument_is_not_changed():
  config = without(stored('pretrain'), 'series_codes')
  upgrade.upgrade(config)
  assert 'series_codes' not in config
  card = ml_collections.ConfigDict(config)
  upgrade.upgrade(card)
  assert 'series_codes' not in card


def test_a_section_that_is_missing_stays_missing():
  config = stored('pretrain')
  del config['checkpoint']
  assert 'checkpoint' not in upgrade.upgrade(config)


def test_what_was_added_is_logged(caplog):
  caplog.set_level('INFO')
  upgrade.upgrade(without(stored('pretrain'), 'series_codes'), 'runs/old')
  assert 'runs/old' in caplog.text
  assert 'config.series_codes=()' in caplog.text


def test_a_misspelt_field_is_answered_with_the_right_one():
  with pytest.raises(AttributeError, match='series_codes'):
    _ = upgrade.upgrade(stored('pretrain')).serie_codes


def test_an_unknown_task_lists_the_choices():
  with pytest.raises(ValueError, match=r"runs/x .*'embed'.*pretrain") as error:
    upgrade.upgrade({'task': 'embed'}, 'runs/x')
  assert all(task in str(error.value) for task in upgrade.STEPS)


def test_a_configuration_without_a_task_lists_the_choices():
  with pytest.raises(ValueError, match='has no task; the tasks are'):
    upgrade.upgrade({'name': 'mine'})


def test_a_run_of_the_removed_relief_tokenizer_is_refused_by_name():
  config = stored('image_tokenizer')
  config['model'] |= {
    'span': [-1.18756, 8.66199],
    'num_digits': 4,
    'relief': 0.005,
    'head_width': 64,
  }
  with pytest.raises(
    ValueError,
    match='runs/dem: This is a run of ReliefTokenizer, which was removed: '
    'train again with configs/image_tokenizer.py:modality=DEM',
  ):
    upgrade.upgrade(config, 'runs/dem')


def test_a_refused_run_is_named_with_what_to_do(monkeypatch):
  step = upgrade.Refused(
    lambda config: config['modality'] == 'DEM', 'Train it again.'
  )
  monkeypatch.setattr(
    upgrade, 'STEPS', {**upgrade.STEPS, 'image_tokenizer': (step,)}
  )
  upgrade.upgrade(stored('image_tokenizer'))
  config = stored('image_tokenizer') | {'modality': 'DEM'}
  with pytest.raises(ValueError, match='runs/dem: Train it again'):
    upgrade.upgrade(config, 'runs/dem')
