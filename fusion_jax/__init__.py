"""Fusion of time series and imagery for Earth observation, in JAX.

  import fusion_jax

  model = fusion_jax.load('runs/pretrain')
  samples = model.generate({'S2L2A': images}, 't2m_hourly')

`dir(fusion_jax)` lists what is meant to be used. Everything is imported when
it is first used, so that `import fusion_jax` is quick and imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = '0.1.0'

if TYPE_CHECKING:
  from fusion_jax import configurations, datasets, mapping, modalities
  from fusion_jax.inference import (
    BackboneModel,
    ClipModel,
    EncoderModel,
    ImageCodec,
    PixelModel,
    SeriesCodec,
    load,
  )
  from fusion_jax.runs import run

__all__ = [
  'BackboneModel',
  'ClipModel',
  'EncoderModel',
  'ImageCodec',
  'PixelModel',
  'SeriesCodec',
  '__version__',
  'configurations',
  'datasets',
  'load',
  'mapping',
  'modalities',
  'run',
]

_MODULES = ('configurations', 'datasets', 'mapping', 'modalities')
_HOMES = {  # {name: module that defines it}.
  'run': 'fusion_jax.runs',
  **dict.fromkeys(
    (
      'BackboneModel',
      'ClipModel',
      'EncoderModel',
      'ImageCodec',
      'PixelModel',
      'SeriesCodec',
      'load',
    ),
    'fusion_jax.inference',
  ),
}


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used."""
  if name in _MODULES:
    return importlib.import_module(f'fusion_jax.{name}')
  if name not in _HOMES:
    raise AttributeError(
      f'fusion_jax has no {name!r}; it has {", ".join(__all__)}.'
    )
  value = getattr(importlib.import_module(_HOMES[name]), name)
  globals()[name] = value  # The next use does not come here.
  return value


def __dir__() -> list[str]:
  """Returns the public names."""
  return sorted(__all__)
