"""Maps Sentinel-2 time series, searches maps, and generates weather of scenes.

  from fusion_jax import mapping
  classifier = mapping.load_classifier('runs/aligned', prompts='prompts.npz')
  mapping.map_scene(classifier, ['cube.nc'], 'map.tif')

Everything is imported when it is first used: maps need the extra 'map',
searches the extra 'search', scenes the extra 'geo'.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from fusion_jax.data.sources.imagery.encoding import Declared
  from fusion_jax.mapping.class_prompts import load_classifier
  from fusion_jax.mapping.maps import map_scene
  from fusion_jax.mapping.scene_series import generate_series, write_series
  from fusion_jax.mapping.temperature import calibrate
  from fusion_jax.mapping.text_search import build_index, find_places

__all__ = [
  'Declared',
  'build_index',
  'calibrate',
  'find_places',
  'generate_series',
  'load_classifier',
  'map_scene',
  'write_series',
]

_HOMES = {  # {name: module that defines it}.
  'Declared': 'data.sources.imagery.encoding',
  'build_index': 'mapping.text_search',
  'calibrate': 'mapping.temperature',
  'find_places': 'mapping.text_search',
  'generate_series': 'mapping.scene_series',
  'load_classifier': 'mapping.class_prompts',
  'map_scene': 'mapping.maps',
  'write_series': 'mapping.scene_series',
}


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used."""
  if name not in _HOMES:
    raise AttributeError(
      f'fusion_jax.mapping has no {name!r}; it has {", ".join(__all__)}.'
    )
  module = importlib.import_module(f'fusion_jax.{_HOMES[name]}')
  value = getattr(module, name)
  globals()[name] = value  # Later uses skip this function.
  return value


def __dir__() -> list[str]:
  """Returns the public names."""
  return sorted(__all__)
