"""CLIP on pictures of Sentinel-2: colours, views, numbers, files."""

import csv
import json
import pathlib
import types

import numpy as np
import pytest

h5py = pytest.importorskip('h5py')

from fusion_jax import datasets
from fusion_jax.commands import app
from fusion_jax.data import composites, labels, prompt_files
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.evals import clip_baseline
from tests import pixel_data


def test_pictures_are_red_green_and_blue_between_the_percentiles():
  annual = np.zeros((10, 2, 2), np.int16)
  annual[:3, 0, 0] = np.ceil(pixel_transforms.HIGH[:3])
  annual[2, 0, 1] = (pixel_transforms.LOW[2] + pixel_transforms.HIGH[2]) / 2
  annual[7, 1, 1] = 9_000  # No colour.
  result = clip_baseline.picture(annual)
  assert result.dtype == np.uint8
  np.testing.assert_array_equal(result[0], [[255, 255, 255], [127, 0, 0]])
  assert not result[1].any()


def test_views_count_alike_whatever_their_length():
  views = np.array(
    [[[3.0, 0], [0, 8]], [[np.nan] * 2, [0, 2]], [[np.nan] * 2] * 2]
  )
  result, seen = clip_baseline.mean_views(views)
  np.testing.assert_allclose(result, [[0.5**0.5, 0.5**0.5], [0, 1], [0, 0]])
  np.testing.assert_array_equal(seen, [True, True, False])


@pytest.fixture(name='folder')
def _folder(tmp_path, monkeypatch):
  """Places whose pictures tell their class, and a CLIP that sees it."""
  pixel_data.write(tmp_path / 'data', splits=[('test', 12)])
  names = labels.classes('land_cover')
  known = prompt_files.read(tmp_path / 'data/prompts/land_cover.npz')
  prompt_files.write(
    tmp_path / 'data/prompts/land_cover.class_names.npz', known
  )
  with h5py.File(tmp_path / 'test.h5', 'w') as file:
    for i in range(12):
      example = pixel_data.example('test', i)
      group = file.create_group(example['key'])
      for band in composites.BANDS:
        group[band] = np.full(
          (3, 8, 8), int(300 * (1 + example['label/land_cover'])), np.uint16
        )
      group['SCL'] = np.full((3, 8, 8), 4, np.uint8)
      group.attrs['Image_ID'] = ['a_20180105', 'a_20180205', 'a_20180305']
  grey = [
    int(clip_baseline.picture(np.full((10, 1, 1), 300 * i)).flat[0])
    for i in range(1, len(names) + 1)
  ]

  def embed_images(pictures):
    assert pictures[0].shape == (8, 8, 3)
    indices = [grey.index(int(image[0, 0, 0])) for image in pictures]
    return known.vectors[indices] / np.linalg.norm(
      known.vectors[indices], axis=1, keepdims=True
    )

  def embed_texts(texts, *, truncate):
    assert truncate  # Rated prompts are as long as people wrote them.
    indices = [names.index(text.removeprefix('a place of ')) for text in texts]
    return known.vectors[indices] / np.linalg.norm(
      known.vectors[indices], axis=1, keepdims=True
    )

  monkeypatch.setattr(
    'fusion_jax.inference.load_as',
    lambda kind, folder, use: types.SimpleNamespace(
      width=int(pathlib.Path(folder).name),
      embed_images=embed_images,
      embed_texts=embed_texts,
    ),
  )
  (tmp_path / str(pixel_data.WIDTH)).mkdir()  # The folder of the CLIP.
  return tmp_path


def write_rated(folder, places):
  """Every class has a score; the first places were voted for just so."""
  folder.mkdir()
  names = labels.classes('land_cover')
  with open(folder / 'prompts.csv', 'w', newline='') as file:
    rows = csv.writer(file)
    rows.writerow(('user_index', 'values_in_order', 'prompts_in_order'))
    rows.writerows(
      (0, i + 1, f'a place of {name}')
      for name_twice in (names, names)
      for i, name in enumerate(name_twice)
    )
  with open(folder / 'votes.tsv', 'w') as file:
    file.write('Lat\tLon\tAverage\n')
    for i in range(places):
      place = pixel_data.example('test', i)
      file.write(
        f'{place["lat"]:.4f}\t{place["lon"]:.4f}\t'
        f'{1 + place["label/land_cover"]}\n'
      )
  return folder


def test_report_has_the_numbers_of_the_paper_beside(folder):
  app.main(
    [
      'clip-baseline',
      '--clip',
      str(folder / str(pixel_data.WIDTH)),
      '--source',
      str(folder / 'test.h5'),
      '--data',
      str(folder / 'data'),
      '--out',
      str(folder / 'out'),
      '--size',
      '8',
      '--name',
      'GeoRSCLIP',
    ]
  )
  numbers = json.loads((folder / 'out' / 'metrics.json').read_text())
  assert numbers['test/zero_shot_single/land_cover.class_names'] == 1
  assert numbers['test/recall_single/land_cover_s2g@1'] == 1
  text = (folder / 'out' / 'report.md').read_text()
  assert '| label | class, % | gen, % | desc, % | S2G @1 | G2S @1 |' in text
  assert '| land cover | 100 (35.2) | – (37.7) | – (42.4) | 1.000 (0.313)' in (
    text
  )


def with_scenicness(folder, rated):
  """Runs the command with a folder of scenicness."""
  app.main(
    [
      'clip-baseline',
      '--clip',
      str(folder / str(pixel_data.WIDTH)),
      '--source',
      str(folder / 'test.h5'),
      '--data',
      str(folder / 'data'),
      '--out',
      str(folder / 'out'),
      '--size',
      '8',
      '--name',
      'RemoteCLIP',
      '--scenicness',
      str(rated),
    ]
  )


def test_scenicness_that_was_not_fetched_names_what_fetches_it(
  folder, tmp_path, capsys
):
  with pytest.raises(SystemExit):
    with_scenicness(folder, tmp_path)
  assert (
    f'{tmp_path}/prompts.csv is missing; `fusion-jax prepare scenicness --out '
    f'{tmp_path}` fetches it.'
  ) in capsys.readouterr().err


def test_scenicness_is_that_of_the_places_with_votes(folder):
  with_scenicness(folder, write_rated(folder / 'rated', 9))
  numbers = json.loads((folder / 'out' / 'metrics.json').read_text())
  assert numbers['test/scenicness_places'] == 9
  for name in ('early', 'late_min2', 'late_min10', 'average'):
    assert numbers[f'test/scenicness_single_{name}/pearson_r'] > 0.99
    assert numbers[f'test/scenicness_single_{name}/kendall_tau'] > 0.9
  text = (folder / 'out' / 'report.md').read_text()
  assert '| Single | 1.000 (0.435) | 1.000 (0.295) |' in text


def test_wrong_file_of_votes_is_found_before_pictures_are(folder):
  rated = write_rated(folder / 'rated', 9)
  text = (rated / 'prompts.csv').read_text()
  for name, wrong, message in (
    ('votes.tsv', 'Lat\tLon\n', r"votes.tsv lacks \['Average'\]"),
    (
      'votes.tsv',
      'Lat\tLon\tAverage\n50\t5\t3\n',
      'votes for fewer than two of 12 places; it covers Great',
    ),
    (
      'prompts.csv',
      ''.join(text.splitlines(True)[:9]),
      'prompts.csv: no rater has more than 8 prompts',
    ),
  ):
    (rated / name).write_text(wrong)
    with pytest.raises(ValueError, match=message):
      clip_baseline.run(
        str(pixel_data.WIDTH),
        folder / 'none.h5',
        folder / 'data',
        folder / 'out',
        rated=rated,
      )


def test_another_clip_or_missing_places_are_errors(folder):
  arguments = folder / 'test.h5', folder / 'data', folder / 'out'
  with pytest.raises(ValueError, match='16 dimensions, 24 gives 24'):
    clip_baseline.run('24', *arguments)
  recipe = datasets.Simulated(
    image_size=16, images=('DEM',), splits={'test': 1}
  )
  datasets.prepare(recipe, folder / 'images')
  with pytest.raises(ValueError, match='images has no vectors of photos; name'):
    clip_baseline.run('16', arguments[0], folder / 'images', folder / 'out')
  with h5py.File(folder / 'test.h5', 'a') as file:
    del file['Lucas_Point_test4']
  with pytest.raises(ValueError, match='test.h5, Lucas_Point_test4: '):
    clip_baseline.run('16', *arguments, size=8)
