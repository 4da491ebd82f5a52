"""Data sets: what they are made from, and how they are written.

  from fusion_jax import datasets
  datasets.prepare(datasets.Simulated(seed=0), 'data/simulated')

A recipe is a frozen dataclass. Its fields are the arguments of `fusion-jax
prepare NAME` and the content of `prepare.json` beside the data: equal recipes
give equal bytes. `BuildSettings` says how a data set is written, in how many
processes for instance. Four further steps add to data that are prepared, or
prepare what a recipe reads:

  `write_codes(Codes(...))`: codes of tokenizers beside images and series
  `write_photo_vectors(PhotoVectors(...))`: CLIP's vectors of ground photos
  `write_prompt_vectors(PromptVectors(...))`: CLIP's vectors of texts
  `fetch_scenicness(Scenicness(...))`: rated prompts and votes of scenicness

Packages that read archives are imported when a reader opens, not before.
"""

from fusion_jax.data.builders.blocks import Block
from fusion_jax.data.sources.stations import Stations
from fusion_jax.datasets.archives import Samples, TerraMesh
from fusion_jax.datasets.build import BuildSettings, prepare
from fusion_jax.datasets.codes import Codes, write_codes
from fusion_jax.datasets.description import (
  DATASETS,
  find,
  from_fields,
  from_json,
  to_json,
)
from fusion_jax.datasets.labelled import Sen4Map, WorldCereal
from fusion_jax.datasets.photo_vectors import PhotoVectors, write_photo_vectors
from fusion_jax.datasets.prompt_vectors import (
  PromptVectors,
  write_prompt_vectors,
)
from fusion_jax.datasets.recipe import Recipe
from fusion_jax.datasets.scenicness import Scenicness, fetch_scenicness
from fusion_jax.datasets.series import Series
from fusion_jax.datasets.simulated import Simulated, SimulatedPixels

__all__ = [
  'DATASETS',
  'Block',
  'BuildSettings',
  'Codes',
  'PhotoVectors',
  'PromptVectors',
  'Recipe',
  'Samples',
  'Scenicness',
  'Sen4Map',
  'Series',
  'Simulated',
  'SimulatedPixels',
  'Stations',
  'TerraMesh',
  'WorldCereal',
  'fetch_scenicness',
  'find',
  'from_fields',
  'from_json',
  'prepare',
  'to_json',
  'write_codes',
  'write_photo_vectors',
  'write_prompt_vectors',
]
