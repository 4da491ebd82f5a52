"""How people would rate the simulated Earth: votes on places, rated prompts.

In the layout of the public files, so that the real readers read them. A figure
from it must be called simulated.
"""

import csv
import os
import pathlib

import numpy as np

from fusion_jax.data.sources import scenicness
from fusion_jax.simulation import phenology, pixels

# Scenicness from 1 to 10 of what one sees, by the first letters of its code.
_SCENIC = {
  'A11': 3.0,
  'A12': 3.4,
  'A21': 1.8,
  'B': 4.4,
  'C': 6.2,
  'D': 6.4,
  'E': 5.4,
  'F10': 8.2,
  'F20': 7.6,
  'F40': 2.6,
  'G': 8.0,
  'H': 6.8,
}
_COVERS = tuple(phenology.COVERS)
_ALPINE = 1.0  # More in the mountains.
_VOTE_NOISE = 0.7  # Standard deviation of a place's mean vote.
_RATER_NOISE = 0.6  # Standard deviation between prompts of a rater.
_RATER_BIAS = 0.5  # Standard deviation between raters.
# Prompts of the 27 raters of Levering et al. 2024.
_PROMPTS = (
  12,
  12,
  11,
  10,
  10,
  10,
  8,
  8,
  7,
  7,
  7,
  5,
  5,
  4,
  4,
  4,
  3,
  3,
  3,
  1,
  1,
  1,
  1,
  0,
  0,
  0,
  0,
)


def votes(
  earth: pixels.SimulatedPixels, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Draws the mean vote of every place of a split.

  Args:
    earth: the simulated places.
    split: name of the split.

  Returns:
    (latitude, longitude, vote), each [P], in degrees and from 1 to 10.
  """
  rows = []
  for i in range(earth.splits[split]):
    site, habitat = earth.ground(split, i)
    value = (
      habitat.share * _scenic(habitat.cover)
      + (1 - habitat.share) * _scenic(habitat.neighbour)
      + _ALPINE * (site.bioregion == 'Alpine')
    )
    noise = earth.rng(split, i, 'votes').normal(0, _VOTE_NOISE)
    rows.append((site.place.lat, site.place.lon, np.clip(value + noise, 1, 10)))
  lat, lon, vote = np.array(rows, float).T
  return lat, lon, vote


def prompts(earth: pixels.SimulatedPixels) -> scenicness.RatedPrompts:
  """Draws rated prompts of land covers, with vectors."""
  rng = np.random.default_rng([earth.seed, 137])
  covers, values, raters, texts = [], [], [], []
  for rater, number in enumerate(_PROMPTS):
    bias = rng.normal(0, _RATER_BIAS)
    for _ in range(number):
      covers.append(_COVERS[rng.integers(len(_COVERS))])
      noise = rng.normal(0, _RATER_NOISE)
      values.append(
        np.clip(np.round(_scenic(covers[-1]) + bias + noise), 1, 10)
      )
      raters.append(rater)
      texts.append(
        f'A view of {covers[-1]} by rater {rater}, number {len(texts)}'
      )
  return scenicness.RatedPrompts(
    tuple(texts),
    np.array(values),
    np.array(raters),
    earth.concepts.landscapes(covers, rng),
  )


def write(
  earth: pixels.SimulatedPixels,
  folder: str | os.PathLike[str],
  split: str = 'test',
) -> None:
  """Writes prompts.npz and votes.tsv of the places of a split.

  Args:
    earth: the simulated places.
    folder: folder to write; it is made if it is missing.
    split: name of the split.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  scenicness.write_prompts(folder / 'prompts.npz', prompts(earth))
  with open(folder / 'votes.tsv', 'w', newline='') as file:
    writer = csv.writer(file, delimiter='\t')
    writer.writerow(('ID', 'Lat', 'Lon', 'Average'))
    for i, (lat, lon, vote) in enumerate(zip(*votes(earth, split))):
      writer.writerow((i, f'{lat:.6f}', f'{lon:.6f}', f'{vote:.3f}'))


def _scenic(code: str) -> float:
  longest = max((key for key in _SCENIC if code.startswith(key)), key=len)
  return _SCENIC[longest]
