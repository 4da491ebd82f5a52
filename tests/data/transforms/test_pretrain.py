"""From an example to its slots: what is cut, drawn, packed, standardised."""

import copy

import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.data import budgets, normalize
from fusion_jax.data.transforms import crops, slots
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.models import coordinate_tokenizer
from fusion_jax.ops import patches as patch_lib
from fusion_jax.ops import quantize

IMAGES = ('untok_sen2l2a@224', 'untok_sen2l1c@224', 'untok_sen1grd@224')
TOKENS = 'tok_lulc@224'
SERIES = ('t2m_hourly', 'tp_hourly')
SELECTED = modalities.select(
  [*IMAGES, TOKENS, *SERIES, 'coords'], image_size=32
)
QUANTIZERS = {
  't2m_hourly': quantize.uniform(250, 310),
  'tp_hourly': quantize.uniform(0.01, 20, has_zero=True),
}
TOKENIZER = coordinate_tokenizer.build()


def make_example(seed=0, size=72):
  rng = np.random.default_rng(seed)
  example = {
    'key': f'place {seed}',
    'lat': 47.3,
    'lon': 8.5,
    'time': np.int64(0),
    'S2L2A': rng.integers(0, 9_000, (size, size, 12), np.int16),
    'S2L1C': rng.integers(0, 9_000, (size, size, 13), np.int16),
    'S2L1C_offset': np.int16(1_000),
    'S1GRD': rng.normal(-12, 3, (size, size, 2)).astype(np.float16),
    'codes/tok_lulc@224': rng.integers(0, 4_375, (4, 4)).astype(np.uint16),
    't2m_hourly': rng.normal(280, 8, 60).astype(np.float32),
    'tp_hourly': np.maximum(rng.normal(0, 3, 60), 0).astype(np.float32),
  }
  for value in example.values():
    if isinstance(value, np.ndarray):
      value.flags.writeable = False
  return example


def make_steps(
  selected=SELECTED, train=True, num_inputs=24, num_targets=40, word_dropout=0.0
):
  return pretrain_transforms.pretraining(
    selected,
    image_size=32,
    quantizers=QUANTIZERS,
    tokenizer=TOKENIZER,
    standards=normalize.standards(selected),
    num_slots=(num_inputs, num_targets),
    train=train,
    word_dropout=word_dropout,
    mixture=budgets.all_to_all(
      selected, num_inputs=(24, 24), num_targets=(40, 40)
    ),
  )


def run(steps, example, seed=0):
  rng = np.random.default_rng(seed)
  for step in steps:
    random = hasattr(step, 'random_map')
    example = step.random_map(example, rng) if random else step.map(example)
  return example


def slots_of(batch, side, name):
  """Rows of a modality's slots, as indices."""
  index = [m.name for m in SELECTED].index(name)
  return np.flatnonzero(batch[side]['modality'] == index)


def test_random_crops_cut_the_same_square_from_every_image():
  # Each pixel knows its place: row * 100 + column.
  places = np.add.outer(100 * np.arange(72), np.arange(72)).astype(np.int16)
  example = {
    field: np.repeat(places[..., None], bands, -1)
    for field, bands in (('S2L2A', 12), ('S2L1C', 13), ('S1GRD', 2))
  }
  rng = np.random.default_rng(0)
  corners = set()
  for _ in range(300):
    cut = crops.RandomCrop(SELECTED, 32).random_map(example, rng)
    assert {cut[field].shape[:2] for field in example} == {(32, 32)}
    (corner,) = {int(cut[field][0, 0, 0]) for field in example}
    corners.add(divmod(corner, 100))
  rows, columns = map(set, zip(*corners))
  assert min(rows) == min(columns) == 0 and max(rows) == max(columns) == 40
  assert len(rows) > 35 and len(columns) > 35


def test_the_centre_crop_is_at_the_centre():
  example = make_example()
  del example['codes/tok_lulc@224']
  cut = crops.CentreCrop(SELECTED, 32).map(example)
  np.testing.assert_array_equal(cut['S2L2A'], example['S2L2A'][20:52, 20:52])


@pytest.mark.parametrize('crop', [crops.RandomCrop, crops.CentreCrop])
def test_crops_with_codes_move_by_whole_patches(crop):
  example = make_example()
  codes = np.arange(16).reshape(4, 4)
  image = np.zeros((72, 72, 12), np.int16)  # The grid of codes starts at 4, 4.
  image[4:68, 4:68] = np.kron(codes, np.ones((16, 16), int))[..., None]
  example |= {'S2L2A': image, 'codes/tok_lulc@224': codes}
  for seed in range(20):
    cut = run([crop(SELECTED, 32)], example, seed)
    np.testing.assert_array_equal(
      cut['S2L2A'][..., 0],
      np.kron(cut['codes/tok_lulc@224'], np.ones((16, 16), int)),
    )


@pytest.mark.parametrize('crop', [crops.RandomCrop, crops.CentreCrop])
def test_crops_take_a_tokenised_square_with_its_pixels(crop):
  example = make_example()
  codes = np.arange(3 * 9).reshape(3, 3, 3)
  corners = np.array([[12, 12], [0, 24], [21, 7]], np.int16)
  squares = set()
  for seed in range(30):
    image = np.full((72, 72, 12), -1, np.int16)
    cut = run(
      [crop(SELECTED, 32)],
      example
      | {'S2L2A': image, 'codes/tok_lulc@224': codes, crops.CORNERS: corners},
      seed,
    )['codes/tok_lulc@224']
    square = int(cut[0, 0]) // 9
    squares.add(square)
    top, left = corners[square]
    image[top : top + 48, left : left + 48] = np.kron(
      codes[square], np.ones((16, 16), int)
    )[..., None]
    shown = run(
      [crop(SELECTED, 32)],
      example
      | {'S2L2A': image, 'codes/tok_lulc@224': codes, crops.CORNERS: corners},
      seed,
    )['S2L2A'][..., 0]
    np.testing.assert_array_equal(shown, np.kron(cut, np.ones((16, 16), int)))
  assert squares == ({0, 1, 2} if crop is crops.RandomCrop else {0})


def test_images_that_do_not_fit_together_raise():
  with pytest.raises(ValueError, match="'place 0'.*S1GRD is .40, 40."):
    example = make_example() | {'S1GRD': np.zeros((40, 40, 2), np.float16)}
    crops.CentreCrop(SELECTED, 32).map(example)
  with pytest.raises(ValueError, match='at least 80 per side'):
    example = make_example()
    del example['codes/tok_lulc@224']
    crops.CentreCrop(SELECTED, 80).map(example)


def test_series_become_ids_with_an_end_and_clipped_values_are_counted():
  values = np.linspace(280, 290, 60, dtype=np.float32)
  values[:3] = [200, 400, np.nan]
  dry = np.zeros(60, np.float32)
  made = pretrain_transforms.QuantizeSeries(QUANTIZERS).map(
    {'t2m_hourly': values, 'tp_hourly': dry}
  )
  ids = made['ids']['t2m_hourly']
  np.testing.assert_array_equal(ids[:3], [206, 705, modalities.NULL])
  assert ids.shape == (61,) and ids[-1] == modalities.EOS
  assert made['clipped'] == 2
  np.testing.assert_array_equal(made['ids']['tp_hourly'][:-1], modalities.ZERO)


def test_shapes_and_types_of_the_slots():
  batch = run(make_steps(), make_example())
  assert set(batch) == {'encoder', 'decoder', 'clipped'}
  patches = batch['encoder'].pop('patches')
  assert {k: v.shape for k, v in patches.items()} == {
    name: (24, 256 * bands) for name, bands in zip(IMAGES, (12, 13, 2))
  }
  assert {v.dtype for v in patches.values()} == {np.dtype(np.float32)}
  trainable = batch['decoder'].pop('trainable')
  assert trainable.shape == (40,) and trainable.dtype == bool
  for side, size in (('encoder', 24), ('decoder', 40)):
    assert {v.shape for v in batch[side].values()} == {(size,)}
    assert {v.dtype for v in batch[side].values()} == {np.dtype(np.int32)}


def test_slots_hold_the_standardised_patches_of_their_place():
  example = make_example()
  window = np.s_[20:52, 20:52]
  for seed in range(10):
    batch = run(make_steps(train=False), example, seed)
    for name in IMAGES:
      modality = modalities.MODALITIES[name]
      pixels = example[modality.field][window].astype(np.float64)
      pixels -= 1_000 * (modality.field == 'S2L1C')
      pixels = (pixels - modality.mean) / modality.std
      expected = patch_lib.patchify(pixels)
      rows = slots_of(batch, 'encoder', name)
      patches = batch['encoder']['patches'][name]
      np.testing.assert_allclose(
        patches[rows], expected[batch['encoder']['position'][rows]], atol=1e-5
      )
      others = np.setdiff1d(np.arange(24), rows)
      assert not patches[others].any()


def test_hidden_pixels_do_not_reach_the_batch():
  example = make_example()
  batch = run(make_steps(train=False), example)
  shown = np.zeros(4, bool)
  shown[batch['encoder']['position'][slots_of(batch, 'encoder', IMAGES[0])]] = (
    True
  )
  assert 0 < shown.sum() < 4
  hidden = np.kron(~shown.reshape(2, 2), np.ones((16, 16), bool))
  image = example['S2L2A'].copy()
  image[20:52, 20:52][hidden] = -1
  other = run(make_steps(train=False), example | {'S2L2A': image})
  np.testing.assert_equal(other, batch)


def test_radar_pixels_without_a_value_become_the_mean():
  radar = make_example()['S1GRD'].copy()
  radar[...] = np.nan
  batch = run(make_steps(), make_example() | {'S1GRD': radar})
  assert not batch['encoder']['patches']['untok_sen1grd@224'].any()


def test_missing_modalities_get_no_slots():
  example = make_example() | {
    'S1GRD': np.zeros((0, 0, 2), np.float16),
    'lat': np.nan,
  }
  del example['codes/tok_lulc@224'], example['t2m_hourly']
  for seed in range(30):
    batch = run(make_steps(), example, seed)
    for name in ('untok_sen1grd@224', TOKENS, 'coords', 't2m_hourly'):
      for side in ('encoder', 'decoder'):
        assert not len(slots_of(batch, side, name))
    assert len(slots_of(batch, 'decoder', 'tp_hourly'))


def test_a_series_without_measurements_is_seen_but_never_predicted():
  example = make_example() | {'t2m_hourly': np.full(60, np.nan, np.float32)}
  seen = []
  for seed in range(30):
    batch = run(make_steps(), example, seed)
    assert not len(slots_of(batch, 'decoder', 't2m_hourly'))
    seen.extend(
      batch['encoder']['code'][slots_of(batch, 'encoder', 't2m_hourly')]
    )
  assert modalities.NULL in seen
  assert max(seen) <= modalities.NULL


def test_an_example_with_nothing_to_predict_gives_padding():
  example = {'lat': np.nan, 'lon': np.nan}
  batch = run(make_steps(), example)
  for side in ('encoder', 'decoder'):
    np.testing.assert_array_equal(batch[side]['modality'], -1)


def test_transforms_leave_their_input_alone():
  example = make_example()
  before = copy.deepcopy(example)
  run(make_steps(), example)
  np.testing.assert_equal(example, before)


def test_shown_inputs_are_whole_and_in_order():
  example = make_example()
  inputs = (IMAGES[0], TOKENS, 'coords', 't2m_hourly')
  steps = pretrain_transforms.showing(
    SELECTED,
    inputs,
    image_size=32,
    quantizers=QUANTIZERS,
    tokenizer=TOKENIZER,
    standards=normalize.standards(SELECTED),
  )
  made = run(steps, example)
  names = ['coords'] * 3 + ['t2m_hourly'] * 61 + [TOKENS] * 4 + [IMAGES[0]] * 4
  order = [m.name for m in SELECTED]
  np.testing.assert_array_equal(
    made['encoder']['modality'],
    [order.index(name) for name in names] + [-1] * 2,
  )
  np.testing.assert_array_equal(
    made['encoder']['position'],
    [*range(3), *range(61), *range(4), *range(4), 0, 0],
  )
  np.testing.assert_array_equal(
    made['encoder']['code'],
    np.concatenate(
      [
        TOKENIZER.encode(47.3, 8.5),
        QUANTIZERS['t2m_hourly'].encode(example['t2m_hourly']),
        [modalities.EOS],
        made['codes/tok_lulc@224'].ravel(),
        np.zeros(6),
      ]
    ),
  )
  (image,) = (m for m in SELECTED if m.name == IMAGES[0])
  expected = patch_lib.patchify((made['S2L2A'] - image.mean) / image.std)
  shown = made['encoder']['patches'][IMAGES[0]]
  np.testing.assert_allclose(shown[68:72], expected, atol=1e-5)
  assert not shown[:68].any() and not shown[72:].any()


def test_dropped_words_are_earlier_values_and_nothing_else():
  dropped = 0
  for seed in range(40):
    # The same draws up to the packing, and none after it but this one.
    whole = run(make_steps(), make_example(), seed)
    made = run(make_steps(word_dropout=0.5), make_example(), seed)
    np.testing.assert_equal(made['encoder'], whole['encoder'])
    code = whole['decoder'].pop('code')
    series = np.concatenate(
      [slots_of(whole, 'decoder', name) for name in SERIES]
    )
    values = series[code[series] >= modalities.NULL]
    hidden = np.array(code)
    hidden[values] = modalities.UNK
    result = made['decoder'].pop('code')
    np.testing.assert_equal(made['decoder'], whole['decoder'])
    is_hidden = len(values) and result[values[0]] == modalities.UNK
    np.testing.assert_array_equal(result, hidden if is_hidden else code)
    dropped += bool(is_hidden)
  assert 8 < dropped < 30


def test_words_are_dropped_in_training_only():
  names = [
    type(step).__name__ for step in make_steps(word_dropout=0.5, train=False)
  ]
  assert 'DropWords' not in names


def test_mistakes_in_a_config_raise_at_construction():
  with pytest.raises(ValueError, match='untok_sen2l2a@224'):
    modalities.select(['untok_sen2l2b@224'])
  mixture = budgets.all_to_all(SELECTED)
  with pytest.raises(ValueError, match='alphas for just these'):
    slots.SampleTokenBudgets(SELECTED[:-1], mixture)
  alphas = dict(mixture.target_alphas) | {IMAGES[0]: (0.5, 0.5)}
  with pytest.raises(ValueError, match='cannot be predicted'):
    slots.SampleTokenBudgets(
      SELECTED, budgets.Mixture(mixture.input_alphas, alphas)
    )
  with pytest.raises(ValueError, match="keep scheme 'some'.*'binary'"):
    slots.MaskSequences(SELECTED, 'some')
  with pytest.raises(ValueError, match='word_dropout=1.5'):
    slots.DropWords(SELECTED, 1.5)
  with pytest.raises(ValueError, match="cannot see .'dem'"):
    slots.ShowInputs(SELECTED, ('dem',))


def test_statistics_give_standards_and_quantizers():
  edges = np.linspace(250, 300, 501).tolist()
  series = {
    'uniform': {'edges': edges},
    'quantile': {'edges': edges, 'medians': edges[1:]},
  }
  statistics = {
    'images': {'S2L2A': {'mean': [5.0] * 12, 'std': [0.0] * 12}},
    'series': {'t2m_hourly': series, 'tp_hourly': series},
  }
  selected = modalities.select([IMAGES[0], *SERIES])
  mean, std = normalize.standards(selected, statistics)[IMAGES[0]]
  assert (mean == 5).all() and (std == 1).all()  # A constant band.
  mean, _ = normalize.standards(selected)[IMAGES[0]]
  np.testing.assert_allclose(mean, selected[-1].mean)
  result = normalize.quantizers(
    selected, statistics, {'t2m_hourly': 'quantile', 'tp_hourly': 'uniform'}
  )
  assert result['tp_hourly'].has_zero and not result['t2m_hourly'].has_zero
  np.testing.assert_allclose(result['t2m_hourly'].values, edges[1:])
  with pytest.raises(ValueError, match='no statistics of S1GRD'):
    normalize.standards(modalities.select([IMAGES[2]]), statistics)
  with pytest.raises(ValueError, match='no statistics of tp_sum_daily'):
    normalize.quantizers(modalities.select(['tp_sum_daily']), statistics)
