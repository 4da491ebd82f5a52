"""Maps of a cube are those of before, to the pixel.

Compared with `testdata/earlier/maps`: bands, tags, colours, embeddings and the
calibration that the commands gave for the models and the cube kept there.
"""

import json

import numpy as np
import pytest

from tests.earlier import maps, outputs


@pytest.mark.slow
@pytest.mark.parametrize('name', maps.NAMES)
def test_a_map_is_the_one_of_before(name, tmp_path):
  result = maps.draw(name, tmp_path)
  kept = json.loads((outputs.FOLDER / 'maps' / f'{name}_map.json').read_text())
  assert result.pop('tags') == kept
  with np.load(outputs.FOLDER / 'maps' / f'{name}_map.npz') as file:
    outputs.compare(result, dict(file))
