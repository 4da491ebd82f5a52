import numpy as np
import pytest
from scipy import special

from fusion_jax.mapping import calibration
from tests import flips

CLASSES = ('a', 'b', 'c')


def draw(temperature, count=20_000):
  """Scores whose labels are drawn from their softmax at a temperature."""
  rng = np.random.default_rng(0)
  scores = rng.normal(0, 4, (count, 3))
  shares = special.softmax(scores / temperature, axis=1)
  labels = (rng.random((count, 1)) > shares.cumsum(axis=1)).sum(axis=1)
  return scores, np.minimum(labels, 2)


@pytest.mark.parametrize('temperature', [0.5, 3.0])
def test_the_temperature_of_the_labels_is_found(temperature):
  scores, labels = draw(temperature)
  result = calibration.fit(scores, labels, CLASSES)
  assert abs(result.temperature / temperature - 1) < 0.05
  assert result.error < 0.02 < result.error_before
  assert result.num_pixels == len(labels)


def test_pixels_without_a_label_do_not_count():
  scores, labels = draw(3.0, 500)
  doubled = np.concatenate([scores, scores[::-1]])
  result = calibration.fit(
    doubled, np.concatenate([labels, np.full(500, -1)]), CLASSES
  )
  assert (
    result.temperature == calibration.fit(scores, labels, CLASSES).temperature
  )
  with pytest.raises(ValueError, match=r'0 pixel\(s\) of places have a label'):
    calibration.fit(scores, np.full(500, -1), CLASSES, 'places')


def test_the_interval_covers_the_temperature_in_95_of_100_samples():
  covered, widths = [], []
  scores, labels = draw(3.0)
  for rows in np.split(np.arange(len(labels)), 200):  # Of 100 pixels each.
    low, high = calibration.fit(scores[rows], labels[rows], CLASSES).interval
    covered.append(low < 3.0 < high)
    widths.append(high / low)
  # Three standard errors of a share of 0.95 of 200.
  assert abs(np.mean(covered) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)
  whole = calibration.fit(scores, labels, CLASSES)
  low, high = whole.interval
  # 200 times as many pixels: an interval narrower by the root of that.
  ratio = np.log(np.median(widths)) / np.log(high / low)
  assert ratio == pytest.approx(np.sqrt(200), rel=0.1)
  assert not calibration.is_uncertain(whole)
  few = calibration.fit(scores[:30], labels[:30], CLASSES)
  assert calibration.is_uncertain(few)
  with pytest.raises(ValueError, match='needs 30 or more'):
    calibration.fit(scores[:29], labels[:29], CLASSES)


def test_the_error_is_the_gap_of_confidence_and_accuracy():
  shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
  labels = np.array([0, 1, 1, 1])  # Half right at 0.9, all right at 0.6.
  np.testing.assert_allclose(
    calibration.expected_error(shares, labels), (0.4 + 0.4) / 2
  )


def test_a_checkpoint_has_one_temperature_for_each_set_of_classes(tmp_path):
  assert calibration.read(tmp_path, CLASSES) is None
  scores, labels = draw(3.0, 500)
  first = calibration.fit(scores, labels, CLASSES)
  other = calibration.fit(scores, labels, ('x', 'y', 'z'))
  for made in first, other, first:
    calibration.write(tmp_path, made)
  assert calibration.read(tmp_path, CLASSES) == first
  assert calibration.read(tmp_path, ('x', 'y', 'z')) == other
  assert calibration.read(tmp_path, ('x', 'y')) is None
  (tmp_path / calibration.FILE).write_text('{}')
  assert calibration.read(tmp_path, CLASSES) is None
  (tmp_path / calibration.FILE).write_text('no')
  with pytest.raises(ValueError, match='fit them again'):
    calibration.read(tmp_path, CLASSES)


def test_a_flipped_bit_is_named(tmp_path):
  fitted = calibration.Calibration(CLASSES, 2.0, 40, 0.3, 0.1, 'places')
  path = calibration.write(tmp_path, fitted)
  for file, byte, bit in flips.places(tmp_path, 100):
    with flips.flipped(file, byte, bit):
      with pytest.raises(ValueError, match=f'{path} is no file of calibra'):
        calibration.read(tmp_path, CLASSES)
  assert calibration.read(tmp_path, CLASSES) == fitted
