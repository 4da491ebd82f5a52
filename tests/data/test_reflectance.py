"""What cannot be reflectance is refused or warned about; extremes pass."""

import pathlib

import numpy as np
import pytest
import rasterio

from fusion_jax import modalities
from fusion_jax.data import reflectance

BANDS = modalities.S2L2A_BANDS
SAMPLES = pathlib.Path(__file__).parents[1] / 'testdata' / 'terramesh' / 'S2L2A'
COARSE = (*BANDS[4:7], 'B8A', 'B11', 'B12', 'B01', 'B09')
CARRIES = '433D_629L_3_1'  # Its darkest value is 969.
# Reflectance in percent of B01 .. B12, as libraries of spectra have it.
SPECTRA = {
  'leaves': (3, 3, 6, 4, 9, 30, 38, 40, 42, 42, 20, 9),
  'fresh snow': (95, 97, 98, 97, 96, 94, 93, 92, 91, 88, 9, 8),
  'clear water': (4, 3, 2, 0.8, 0.6, 0.3, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1),
  'turbid water': (9, 11, 16, 17, 15, 8, 8, 6, 5, 4, 1, 0.6),
  'cloud': (62, 61, 60, 61, 63, 64, 65, 66, 66, 64, 45, 38),
  'saturated cloud': (160, 155, 150, 150, 150, 150, 150, 150, 150, 140, 90, 80),
  'desert': (18, 22, 32, 42, 45, 47, 48, 49, 50, 50, 60, 55),
  'burnt': (4, 5, 6, 7, 8, 10, 11, 12, 13, 13, 20, 21),
  'shadow of a mountain': (2, 2, 1.5, 1, 1.2, 1.5, 1.6, 1.5, 1.6, 1.5, 1, 0.7),
}


def image(kind='leaves', side=48, seed=0):
  """Counts [Y, X, C] of one surface: a fifth of brightness, noise of 15."""
  rng = np.random.default_rng(seed)
  light = 1 + 0.2 * rng.standard_normal((side, side, 1))
  counts = 100 * np.array(SPECTRA[kind]) * np.maximum(light, 0.2)
  return np.rint(counts + rng.normal(0, 15, (side, side, 12)))


def real():
  """{name: counts [Y, X, C]} of the real samples of L2A."""
  images = {}
  for path in sorted(SAMPLES.glob('*.tif')):
    with rasterio.open(path) as raster:
      images[path.stem] = np.moveaxis(raster.read(), 0, -1)
  return images


def glinting(values, glint):
  """Values [Y, X, C] with a glint of the sun in one pixel."""
  values = values.copy()
  values[3, 5, 2] = glint
  return values


def check(counts, **options):
  reflectance.check_images(counts, BANDS, 'S2L2A', **options)


@pytest.mark.parametrize('kind', SPECTRA)
def test_extremes_of_nature_pass_without_a_word(kind, caplog):
  check(image(kind))
  # Clouds alone are bright in every band, so they could carry an offset.
  words = [x for x in caplog.messages if 'carries the offset' not in x]
  assert not words and bool(caplog.messages) == ('cloud' in kind)


def test_mixed_scenes_pass_without_a_word(caplog):
  for kind in ('desert', 'cloud', 'saturated cloud', 'fresh snow'):
    counts = image(kind)
    counts[:8, :8] = image('shadow of a mountain')[:8, :8]
    check(counts)
  assert not caplog.messages


def test_real_scenes_pass_and_the_one_with_the_offset_is_named(caplog):
  for name, counts in real().items():
    caplog.clear()
    check(counts)
    assert len(caplog.messages) == (name == CARRIES), name
    if name == CARRIES:
      assert 'subtract 1000' in caplog.text
      caplog.clear()
      check(counts - 1000)  # As advised.
      assert not caplog.messages


@pytest.mark.parametrize(
  'spoil, mend, words',
  [
    (lambda x: x / 1e4, lambda x: x * 1e4, 'reflectance itself.* by 10,000'),
    (lambda x: glinting(x / 1e4, 2.3), lambda x: x * 1e4, 'up to 0.*itself'),
    (
      lambda x: glinting(x / 100, 230),
      lambda x: x * 100,
      'in percent.* by 100',
    ),
    (lambda x: np.where(x > 4400, -9999, x), None, 'stored as -9999.*put NaN'),
    (lambda x: np.where(x > 4400, 65535, x), None, 'stored as 65535.*put NaN'),
    (lambda x: x * 100, lambda x: x / 100, 'reflectances around 1'),
    (lambda x: (x / 30).astype('uint8'), None, r'grey levels \(uint8'),
    (lambda x: x * 0, None, 'is 0 in every pixel and band'),
  ],
)
def test_what_is_no_reflectance_is_refused(spoil, mend, words, caplog):
  counts = np.maximum(image(), 1)
  spoilt = spoil(counts)
  with pytest.raises(ValueError, match=f'^S2L2A.*{words}'):
    check(spoilt)
  wild = (spoilt == -9999) | (spoilt == 65535)
  check(mend(spoilt) if mend else np.where(wild, np.nan, counts))
  assert not caplog.messages


@pytest.mark.parametrize(
  'order',
  [
    BANDS[::-1],
    sorted(BANDS, key=lambda band: (len(band), band == 'B8A', band)),
    (
      'B02',
      'B03',
      'B04',
      'B08',
      *BANDS[4:7],
      'B8A',
      'B11',
      'B12',
      'B01',
      'B09',
    ),
    (
      'B04',
      'B03',
      'B02',
      'B08',
      *BANDS[4:7],
      'B8A',
      'B11',
      'B12',
      'B01',
      'B09',
    ),
  ],
  ids=['reversed', 'alphabet', 'by size', 'red first'],
)
def test_bands_in_another_order_are_warned_about(order, caplog):
  named = 0
  for counts in real().values():
    caplog.clear()
    check(counts[..., [BANDS.index(band) for band in order]])
    named += 'Perhaps the bands do not stand in the order B01' in caplog.text
  assert named >= 3  # Of five; snow and desert are alike in most bands.


def test_some_empty_images_are_counted(caplog):
  images = np.stack([image(), 0 * image(), image(seed=2)])
  check(images)
  assert '1 of 3 images of S2L2A have no value' in caplog.text
  assert 'the first: 1' in caplog.text


def test_few_wild_values_are_warned_about(caplog):
  counts = image()
  counts[0, 0, 0] = -9999
  check(counts)
  assert 'reflectance -1, stored as -9999' in caplog.text


def test_the_cirrus_band_tells_the_offset_of_l1c(caplog):
  counts = np.insert(image('desert'), 10, 12, axis=-1)
  bands = modalities.S2L1C_BANDS
  reflectance.check_images(counts, bands, 'S2L1C')
  assert not caplog.messages
  reflectance.check_images(counts + 1000, bands, 'S2L1C')
  assert 'B10 of S2L1C is 1012' in caplog.text
