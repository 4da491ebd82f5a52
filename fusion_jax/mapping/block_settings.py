"""What the content of the blocks of a map depends on."""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from fusion_jax.data.sources.imagery import encoding
from fusion_jax.mapping import classify
from fusion_jax.mapping import cube as cube_lib

_ENCODING = 'encoding'
# {field of `Declared`: its default}, without what changes no pixel.
_DEFAULTS = {
  field.name: repr(field.default)
  for field in dataclasses.fields(encoding.Declared)
  if field.name != 'hosts'
}


def describe(
  cube: cube_lib.Cube,
  classifier: classify.Classifier,
  size: tuple[int, int],
  with_vectors: bool,
) -> dict[str, Any]:
  """Returns all settings that the content of a block depends on.

  Args:
    cube: the time series.
    classifier: model with its classes.
    size: rows and columns of a block.
    with_vectors: whether blocks hold embeddings.
  """
  source, declared = cube.source, cube.declared
  return {
    'scene': source.name,
    'shape': cube.shape,
    'block': size,
    'transform': list(source.transform)[:6],
    'bands': cube.sources,
    'months': cube.months.tolist(),
    _ENCODING: _chosen({x: repr(getattr(declared, x)) for x in _DEFAULTS}),
    'model': classifier.digest(),
    'setting': classifier.setting,
    'classes': classifier.classes.names,
    'temperature': classifier.classes.temperature,
    'embeddings': with_vectors,
  }


def upgrade(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns settings that an earlier version noted as `describe` has them.

  Args:
    settings: as they were noted; earlier versions wrote the encoding as the
      text `Declared(scale=None, ...)`, with fewer fields.
  """
  text = settings.get(_ENCODING)
  if not isinstance(text, str):
    return dict(settings)
  try:
    call = ast.parse(text, mode='eval').body
  except SyntaxError:
    return dict(settings)
  fields = call.keywords if isinstance(call, ast.Call) else []
  values = {str(field.arg): ast.unparse(field.value) for field in fields}
  return {**settings, _ENCODING: _chosen(values)}


def _chosen(values: Mapping[str, str]) -> dict[str, str]:
  """Returns what differs from the defaults; texts, as NaN equals no NaN."""
  return {
    name: text
    for name, text in values.items()
    if name != 'hosts' and text != _DEFAULTS.get(name)
  }
