"""Converts a file of any CLIP with a ViT to a folder for `fusion_jax.load`.

The weights do not contain the activation that they were trained with, and the
wrong one degrades them silently; so published files are listed in published.py.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from absl import logging

from fusion_jax.convert import checkpoints, clip, files, published

# Fields of `clip.Clip` that a folder stores.
_FIELDS = (
  'activation',
  'width',
  'image_size',
  'patch',
  'vision_width',
  'vision_depth',
  'vision_heads',
  'vocab_size',
  'context',
  'text_width',
  'text_depth',
  'text_heads',
)


def convert(
  source: str,
  out: str | os.PathLike[str],
  *,
  file: str = '',
  revision: str = '',
  activation: str = 'auto',
) -> None:
  """Converts one file in the layout of OpenAI, OpenCLIP or Hugging Face.

  Args:
    source: path of a file, or id on the Hugging Face hub.
    out: folder to write, for `fusion_jax.load`.
    file: file in the repository of a hub id, see `files.fetch`.
    revision: revision on the hub, see `files.fetch`.
    activation: 'quick_gelu' or 'gelu'; 'auto' takes it, in this order, from
      `config.json` or `open_clip_config.json` beside the file, from
      `published.CLIP`, or from the file if it is an archive of OpenAI.

  Raises:
    FileNotFoundError: if the source cannot be found.
    ValueError: if the activation is unknown; if the weights do not fit, see
      `clip.from_torch`; or if the folder has a checkpoint already.
  """
  known = {x.hub_id: x.path for x in published.CLIP if x.hub_id}
  path = files.fetch(source, known, file=file, revision=revision)
  state = files.read_state(path)
  settings = _config_beside(path)
  if activation == 'auto':
    activation, reason = _find_activation(source, path, state, settings)
    logging.info('%s: the activation is %s (%s).', path, activation, reason)
  try:
    model, params = clip.from_torch(
      state,
      activation,
      vision_heads=settings.get('vision_heads', 0),
      text_heads=settings.get('text_heads', 0),
    )
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from error
  config = {
    'name': pathlib.Path(out).name,
    'task': 'clip',
    'model': {name: getattr(model, name) for name in _FIELDS},
  }
  checkpoints.write(
    out,
    params,
    config,
    files.origin(source, path, revision),
  )
  logging.info(
    'The CLIP with patches of %d and vectors of %d is in %s.',
    model.patch,
    model.width,
    out,
  )


def _find_activation(
  source: str,
  path: pathlib.Path,
  state: Mapping[str, Any],
  settings: Mapping[str, Any],
) -> tuple[str, str]:
  """Returns the activation, and the source of the information."""
  if 'activation' in settings:
    return settings['activation'], settings['file']
  for known in published.CLIP:
    end = known.end and f'/{known.end}'
    if source == known.hub_id or (
      end and path.absolute().as_posix().endswith(end)
    ):
      return known.activation, known.reason
  if 'input_resolution' in state:
    return 'quick_gelu', "an archive of OpenAI's"
  names = ', '.join(x.end for x in published.CLIP if x.end)
  raise ValueError(
    f'{path}: the activation of these weights is unknown. Give '
    "--activation=quick_gelu (OpenAI's weights, and what was trained from "
    'them) or --activation=gelu (most of OpenCLIP). Known are config.json of '
    f'Hugging Face, open_clip_config.json, and files called {names}.'
  )


def _config_beside(path: pathlib.Path) -> dict[str, Any]:
  """Returns activation and heads from a configuration beside a file."""
  hugging_face, openclip = (
    path.with_name(name) for name in ('config.json', 'open_clip_config.json')
  )
  stored = json.loads(openclip.read_text()) if openclip.is_file() else {}
  if 'model_cfg' in stored:
    sizes = stored['model_cfg']
    vision = sizes.get('vision_cfg', {})
    return {
      'file': openclip.name,  # OpenCLIP leaves defaults out, too.
      'activation': 'quick_gelu' if sizes.get('quick_gelu') else 'gelu',
      'vision_heads': (vision.get('width', 0) // vision.get('head_width', 64)),
      'text_heads': sizes.get('text_cfg', {}).get('heads', 0),
    }
  config = (
    json.loads(hugging_face.read_text()) if hugging_face.is_file() else {}
  )
  if 'vision_config' not in config:
    return {}
  vision, text = config['vision_config'], config.get('text_config', {})
  return {
    'file': hugging_face.name,  # Hugging Face leaves defaults out.
    'activation': vision.get('hidden_act', 'quick_gelu'),
    'vision_heads': vision.get('num_attention_heads', 0),
    'text_heads': text.get('num_attention_heads', 0),
  }
