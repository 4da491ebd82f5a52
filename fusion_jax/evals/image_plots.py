"""Pictures of images beside their reconstructions, and of codes in use."""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps, colors

from fusion_jax import modalities
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.evals import plots

# ESRI's land cover, 0..9, in the colours its maps are known by.
CLASSES = (
  'no data',
  'water',
  'trees',
  'flooded vegetation',
  'crops',
  'built area',
  'bare ground',
  'snow/ice',
  'clouds',
  'rangeland',
)
_CLASS_COLOURS = (
  '#000000',
  '#1A5BAB',
  '#358221',
  '#87D19E',
  '#FFDB5C',
  '#ED022A',
  '#EDE9E4',
  '#F2FAFF',
  '#C8C8C8',
  '#C6AD8D',
)
_MAPS = {'DEM': 'terrain', 'NDVI': 'RdYlGn'}
_TITLES = {
  'truth': 'original',
  'model': 'reconstruction',
  'yardstick': "patch's ",
}


def triples(
  path: str | pathlib.Path,
  modality: modalities.Modality,
  scenes: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
  """Draws original, reconstruction and yardstick of every scene in a row.

  Args:
    path: file to write.
    modality: modality of the tokens.
    scenes: {key: {'truth' | 'model' | 'yardstick': [Y, X, C]}}, standardised;
      at least one.
  """
  names = tuple(next(iter(scenes.values())))
  constant_name = 'majority' if tile_transforms.is_classes(modality) else 'mean'
  shape = next(iter(scenes.values()))['truth'].shape
  width = min(3.0, 2.2 * shape[1] / shape[0] + 0.6)
  with plots.new_figure(path, 3 * width, 2.2 * len(scenes) + 0.3) as drawn:
    axes = drawn.subplots(len(scenes), 3, squeeze=False)
    for row, (key, images) in zip(axes, scenes.items()):
      shown = display(modality, images)
      for ax, picture in zip(row, shown.values()):
        ax.imshow(picture, interpolation='nearest')
        ax.set_xticks([])
        ax.set_yticks([])
        ax.grid(False)
      row[0].set_ylabel(key, fontsize=7)
    for ax, name in zip(axes[0], names):
      title = _TITLES[name] + (constant_name if name == 'yardstick' else '')
      ax.set_title(title, fontsize=8)


def display(
  modality: modalities.Modality, images: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Turns images of one scene into pictures on one scale.

  The scale is that of 'truth': what a reconstruction has beyond it saturates.

  Args:
    modality: modality of the tokens.
    images: {name: [Y, X, C]}, standardised; 'truth' among them.

  Returns:
    {name: [Y, X, 3]} in [0, 1].
  """
  if tile_transforms.is_classes(modality):
    palette = np.array([colors.to_rgb(c) for c in _CLASS_COLOURS])
    return {
      name: palette[image[..., 0].astype(int)] for name, image in images.items()
    }
  red_green_blue = [
    modality.bands.index(band)
    for band in ('B04', 'B03', 'B02')
    if band in modality.bands
  ]
  shown = {
    name: image[..., red_green_blue or [0]] for name, image in images.items()
  }
  low, high = np.percentile(shown['truth'], [2, 98])
  # A flat scene, such as the sea's elevation, is drawn in about one colour.
  shown = {
    name: np.clip((image - low) / max(high - low, 0.02), 0, 1)
    for name, image in shown.items()
  }
  if red_green_blue:
    return {name: image**0.8 for name, image in shown.items()}
  return {
    name: colormaps[_MAPS.get(modality.field, 'gray')](image[..., 0])[..., :3]
    for name, image in shown.items()
  }


def code_histogram(
  path: str | pathlib.Path, counts: Mapping[str, np.ndarray]
) -> None:
  """Draws how often each code occurs: by index, and sorted.

  Args:
    path: file to write.
    counts: {label: [num_codes]}, occurrences of each code.
  """
  with plots.new_figure(path, 8, 2 * len(counts) + 0.6) as drawn:
    axes = drawn.subplots(len(counts), 2, squeeze=False, width_ratios=(2, 1))
    for (by_index, ordered), (label, numbers) in zip(axes, counts.items()):
      share = numbers / max(numbers.sum(), 1)
      by_index.vlines(
        np.arange(len(share)),
        0,
        share,
        linewidth=0.5,
        color=plots.COLOURS['model'],
      )
      by_index.set(
        title=f'{label}: {(numbers > 0).sum():,} of {len(numbers):,} codes',
        ylabel='share of tokens',
        xlim=(0, len(share)),
        ylim=(0, None),
      )
      used = np.sort(share[share > 0])[::-1]
      ordered.plot(
        np.arange(1, len(used) + 1), used, color=plots.COLOURS['model']
      )
      ordered.set(xscale='log', yscale='log', title='sorted')
    axes[-1, 0].set_xlabel('code')
    axes[-1, 1].set_xlabel('rank')
