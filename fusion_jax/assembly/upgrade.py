"""Brings configurations of earlier versions up to date, in one place.

Every configuration that was stored (`config.json` of a run, the metadata of a
checkpoint, a converted folder) and every recipe card passes through `upgrade`
when it is read. All other code reads `config.field` and knows no defaults.

When a field is added to a recipe card, add an `Added` step to its task below:
its value is the one with which the code behaves as it did before. When a kind
of model is removed, add a `Refused` step that says what to do instead.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from absl import logging

from fusion_jax.types import Config


@dataclasses.dataclass(frozen=True)
class Added:
  """A field that earlier configurations of a task do not have.

  It is only added where its section exists: a converted folder has no section
  `checkpoint`, because it is not trained further.

  Attributes:
    path: dotted path of the field, such as 'checkpoint.best'.
    value: value with which the code behaves as it did before the field.
    effect: what this value does, as the end of a sentence.
  """

  path: str
  value: Any
  effect: str


@dataclasses.dataclass(frozen=True)
class Refused:
  """A kind of run that this version cannot use.

  Attributes:
    applies: function from a configuration to whether it is of this kind.
    message: what it is and what to do, in full sentences.
  """

  applies: Callable[[Mapping[str, Any]], bool]
  message: str


_WATCH = Added(
  'watch',
  {'hang_s': 0.0, 'profile': {'start': 0, 'steps': 0}},
  'waits for ever for a process that hangs',
)
_FIRST_LAYER = Added(
  'model.factored_first_layer', 'auto', 'factors the first layer on CPU'
)

_ONE_LOCAL_SET = (
  Added('data.parts', {}, 'trains on one data set'),
  Added(
    'data.remote',
    {'cache': '', 'cache_gb': 0.0, 'timeout_s': 300.0},
    'has no effect without a URL',
  ),
  Added('checkpoint.mirror', '', 'copies the checkpoints nowhere'),
)

# Steps of every task, oldest first. The section `model` of image tokenizers is
# left as stored: the fingerprint of stored codes is computed from it.
STEPS: Mapping[str, tuple[Added | Refused, ...]] = {
  'pretrain': (
    Added('coords_vocab_size', 30_000, "has rows for TerraMind's vocabulary"),
    Added('standardise', 'terramind', "uses TerraMind's means and deviations"),
    Added('word_dropout', 0.0, 'always shows the decoder its earlier values'),
    Added('checkpoint.best', 'val/loss', 'keeps the lowest validation loss'),
    Added('checkpoint.best_mode', 'min', 'keeps the lowest validation loss'),
    Added('init_from', '', 'starts from random parameters'),
    Added('init_new', (), 'starts from random parameters'),
    Added('init_without', (), 'starts from random parameters'),
    Added('series_codes', (), 'reads every series as binned values'),
    Added('num_series_codes', 4_096, 'has no effect without series_codes'),
    Added('model.remat', False, 'keeps what every layer computes'),
    *_ONE_LOCAL_SET,
    _WATCH,
  ),
  'image_tokenizer': (
    Refused(
      lambda config: 'span' in config['model'],
      'This is a run of ReliefTokenizer, which was removed: train again with '
      'configs/image_tokenizer.py:modality=DEM.',
    ),
    Added('spread_weight', 0.0, 'does not spread the latents over the codes'),
    *_ONE_LOCAL_SET,
    _WATCH,
  ),
  'series_tokenizer': (
    Added('model.latent_scale', 1.0, 'does not scale the latents'),
    *_ONE_LOCAL_SET,
    _WATCH,
  ),
  'align_pixels': (
    Added('evals.split', 'val', 'judges on the validation split'),
    Added('evals.kinds', (), 'judges with no other prompts'),
    Added('evals.retrieval', (), 'retrieves by no label'),
    Added('evals.search', '', 'searches with no prompts'),
    Added('evals.search_label', 'eunis', 'has no effect without search'),
    Added('evals.scenicness', '', 'predicts no scenicness'),
    Added('remember', False, 'scales the examples anew in every epoch'),
    _FIRST_LAYER,
    *_ONE_LOCAL_SET,
    _WATCH,
  ),
  'classify_pixels': (
    Added('evals.split', 'val', 'judges on the validation split'),
    Added('remember', False, 'scales the examples anew in every epoch'),
    _FIRST_LAYER,
    *_ONE_LOCAL_SET,
    _WATCH,
  ),
  'encoder': (),
  'clip': (),
  'pixel_encoder': (_FIRST_LAYER,),
}


def upgrade(
  config: Mapping[str, Any] | ml_collections.ConfigDict,
  source: str = 'The configuration',
) -> Config:
  """Returns a configuration with all fields that this version reads.

  Args:
    config: configuration as it was stored, or as a recipe card made it. It is
      not changed.
    source: name of the file or folder that it comes from, for messages.

  Returns:
    A new, locked ConfigDict. Fields that the stored configuration lacks have
    the value with which the code behaves as it did before they existed; what
    was added is logged.

  Raises:
    ValueError: if the task is missing or unknown (the message lists those that
      exist), or if this version cannot use such a run any more.
  """
  fields = _plain(config)
  if 'task' not in fields or fields['task'] not in STEPS:
    task_text = (
      f'config.task={fields["task"]!r}' if 'task' in fields else 'no task'
    )
    raise ValueError(
      f'{source} has {task_text}; the tasks are {sorted(STEPS)}. Name the '
      'folder of a run or of converted weights, or a recipe card of configs/.'
    )
  for step in STEPS[fields['task']]:
    if isinstance(step, Added):
      _add(fields, step, source)
    elif step.applies(fields):
      raise ValueError(f'{source}: {step.message}')
  return ml_collections.ConfigDict(fields).lock()


def _plain(config: Any) -> Any:
  """The configuration as nested dicts, all of them new."""
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  if not isinstance(config, Mapping):
    return config
  return {name: _plain(value) for name, value in config.items()}


def _add(fields: dict[str, Any], field: Added, source: str) -> None:
  """Sets a field in place where its section exists and it does not."""
  *sections, name = field.path.split('.')
  section = fields
  for parent in sections:
    if parent not in section:
      return
    section = section[parent]
  if name not in section:
    section[name] = field.value
    logging.info(
      '%s is of an earlier version: config.%s=%r is added, which %s.',
      source,
      field.path,
      field.value,
      field.effect,
    )
