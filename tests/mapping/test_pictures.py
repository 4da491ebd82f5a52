"""Pictures of maps."""

import numpy as np
import pytest
import rasterio
from PIL import Image

from fusion_jax.mapping import blocks, cog, pictures

LONG = (
  'Lines of trees, small anthropogenic woodlands, recently felled '
  'woodland, early-stage woodland and coppice'
)


@pytest.mark.parametrize('name', ['temporary_crops', LONG])
def test_legend_lies_in_the_picture_beside_the_map(name, tmp_path):
  classes = np.zeros((30, 30), np.uint8)
  classes[0, 0], classes[:, 12:] = 1, 2
  block = blocks.split(classes.shape, (32, 32))[0]
  cog.write(
    tmp_path / 'map.tif',
    [(block, classes, classes)],
    shape=classes.shape,
    crs='EPSG:32631',
    transform=rasterio.Affine(10, 0, 664_000, 0, -10, 5_612_120),
    names=('water', 'trees', name),
    tags={},
  )
  figure = pictures.draw_map(tmp_path / 'map.tif', tmp_path / 'map.png')
  legend = figure.legends[0].get_window_extent()
  width, height = figure.bbox.size
  assert 0 <= legend.x0 < legend.x1 <= width
  assert 0 <= legend.y0 < legend.y1 <= height
  assert figure.axes[0].get_window_extent().x1 <= legend.x0
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert labels[0].replace('\n', ' ') == f'{name.replace("_", " ")}, 60 %'
  assert labels[2] == 'trees, <1 %'
  # The map takes up at least a third of the picture.
  pixels = np.asarray(Image.open(tmp_path / 'map.png').convert('RGB'))
  assert (pixels.min(axis=-1) < 250).mean() > 0.3
