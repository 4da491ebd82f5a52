"""Squares of single images: where they lie and what is held out."""

import grain
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data.transforms import image_tokenizer as tile_transforms
from fusion_jax.data.transforms import tiles

DEM = modalities.get('DEM', role='target')
LULC = modalities.get('LULC', role='target')


def make_example(key='a', shape=(80, 90), field='DEM'):
  """An example whose pixels tell their row and column."""
  rows, columns = np.indices(shape)
  return {'key': key, field: (rows * 1_000 + columns)[..., None]}


def draw(transform, example, seed):
  return transform.random_map(example, np.random.default_rng(seed))


@pytest.mark.parametrize('width, first', [(224, 149), (264, 176), (9, 6)])
def test_the_eastern_third_is_held_out(width, first):
  assert tiles.west(width) == (0, first)
  assert tiles.east(width) == (first, width)
  assert width - first >= width / 3


def test_training_squares_never_touch_the_held_out_columns():
  tile = tile_transforms.RandomTile('DEM', 32, tiles.west)
  columns, rows = set(), set()
  for seed in range(400):
    image = draw(tile, make_example(), seed)['DEM'][..., 0]
    assert image.shape == (32, 32)
    rows.update(image[:, 0] // 1_000)
    columns.update(image[0] % 1_000)
  assert columns == set(range(60))  # 2/3 of 90.
  assert rows == set(range(80))


def test_held_out_squares_cover_the_rest_and_count_each_pixel_once():
  examples = [
    make_example('a'),
    {'key': 'b', 'DEM': np.zeros((0, 90, 1))},
    make_example('c', (64, 96)),
  ]
  result = tiles.Tiles(examples, 'DEM', 16, tiles.east)
  assert [scene[0] for scene in result.scenes] == ['a', 'c']
  seen = [np.zeros((80, 90), int), np.zeros((64, 96), int)]
  for i in range(len(result)):
    square = result[i]
    top, left = square['corner']
    part = seen[square['scene']][top : top + 16, left : left + 16]
    part += square['counted']
    np.testing.assert_array_equal(square['DEM'][0, 0, 0], top * 1_000 + left)
  for counts, first in zip(seen, (60, 64)):
    assert not counts[:, :first].any()
    assert (counts[:, first:] == 1).all()


def test_the_number_of_judged_scenes_can_be_limited():
  examples = [make_example(key) for key in 'abc']
  assert len(tiles.Tiles(examples, 'DEM', 16, num_examples=2).scenes) == 2


def test_squares_larger_than_the_columns_raise():
  with pytest.raises(ValueError, match="'a' has 80 x 30.*image_size to 32"):
    tiles.Tiles([make_example()], 'DEM', 64, tiles.east)
  with pytest.raises(ValueError, match='80 x 60 pixels for squares of 64'):
    draw(
      tile_transforms.RandomTile('DEM', 64, tiles.west),
      make_example(),
      0,
    )


def test_an_example_without_the_image_is_replaced_by_one_that_has_it():
  examples = [
    make_example(str(i))
    if i % 3 == 0
    else {'key': str(i), 'DEM': np.zeros((0, 90, 1))}
    for i in range(30)
  ]
  source = tiles.Having(examples, 'DEM')
  keys = [source[i]['key'] for i in range(30)]
  assert all(int(key) % 3 == 0 for key in keys) and len(set(keys)) > 7
  assert keys[::3] == [str(i) for i in range(0, 30, 3)]
  assert keys == [source[i]['key'] for i in range(30)]


def test_a_modality_that_no_example_has_raises():
  nothing = [{'key': 'a', 'DEM': np.zeros((0, 90, 1))}]
  with pytest.raises(ValueError, match='DEM'):
    tiles.Having(nothing, 'DEM')[0]
  with pytest.raises(ValueError, match='DEM'):
    tiles.Tiles(nothing, 'DEM', 16)


def test_joined_sources_follow_one_another():
  joined = tiles.Joined(list('ab'), list('c'))
  assert [joined[i] for i in range(len(joined))] == list('abc')
  with pytest.raises(IndexError):
    joined[3]


@pytest.mark.parametrize('turn, count', [(False, 2), (True, 8)])
def test_flips_and_turns_give_all_their_images(turn, count):
  image = np.arange(4).reshape(2, 2, 1)
  result = {
    draw(tile_transforms.Flip('DEM', turn), {'DEM': image}, seed)[
      'DEM'
    ].tobytes()
    for seed in range(100)
  }
  assert len(result) == count
  assert image.tobytes() in result and image[:, ::-1].tobytes() in result


def test_standardised_images_have_no_gaps_but_say_where_they_were():
  image = np.array([[[670.665 + 951.272], [np.nan]]], np.float32)
  made = tile_transforms.Standardise(DEM, DEM.mean, DEM.std).map({'DEM': image})
  np.testing.assert_allclose(made['image'], [[[1], [0]]], atol=1e-6)
  np.testing.assert_array_equal(made['present'], [[True, False]])
  assert made['image'].dtype == np.float32


def test_classes_stay_classes():
  made = tile_transforms.Standardise(LULC, LULC.mean, LULC.std).map(
    {'LULC': np.array([[[9], [1]]], np.uint8)}
  )
  np.testing.assert_array_equal(made['image'], [[[9], [1]]])
  assert made['image'].dtype == np.int32
  with pytest.raises(ValueError, match='class 10'):
    tile_transforms.standardise(np.array([[[10]]]), LULC, LULC.mean, LULC.std)


def test_images_with_other_bands_raise():
  with pytest.raises(ValueError, match=r'\(4, 4, 2\).*1.*elevation'):
    tile_transforms.standardise(np.zeros((4, 4, 2)), DEM, DEM.mean, DEM.std)


def test_a_share_of_the_examples_is_shown_as_noise_alone():
  made = [
    draw(tile_transforms.DrawNoise(1_000, 0.5), {}, seed) for seed in range(400)
  ]
  steps = np.array([x['step'] for x in made])
  assert 150 < (steps == 999).sum() < 250
  assert steps.min() < 20 and len(set(steps)) > 150
  assert len({int(x['noise']) for x in made}) == 400
  with pytest.raises(ValueError, match='last_share=2'):
    tile_transforms.DrawNoise(1_000, 2.0)


def test_draws_belong_to_the_example_in_every_order():
  source = [make_example(str(i)) for i in range(6)]
  steps = [
    tile_transforms.RandomTile('DEM', 16),
    tile_transforms.DrawNoise(1_000),
  ]

  def run(part):
    dataset = grain.MapDataset.source(source).seed(3)
    for step in steps:
      dataset = dataset.random_map(step)
    return {x['key']: (x['noise'], x['DEM'][0, 0, 0]) for x in dataset[part]}

  whole = run(slice(None))
  assert {**run(slice(0, None, 2)), **run(slice(1, None, 2))} == whole
