import jax
import numpy as np
import pytest

from fusion_jax.data import pipelines
from fusion_jax.data.transforms import series_tokenizer as series_transforms

NAN = np.nan


class Records:
  """A split of two series, as `data.records.Examples`."""

  fields = ('t2m_hourly', 't2m_min_daily', 'lat')

  def __init__(self, examples):
    self.examples = examples

  def __len__(self):
    return len(self.examples)

  def __getitem__(self, index):
    return self.examples[index]

  def __repr__(self):
    return 'Records'


def example(hourly=280.0, daily=275.0):
  return {
    't2m_hourly': np.full(60, hourly, np.float32),
    't2m_min_daily': np.full(40, daily, np.float32),
  }


def test_every_window_and_series_is_an_example():
  names = 't2m_hourly', 't2m_min_daily'
  windows = series_transforms.Windows(
    Records([example(), example(281.0, NAN)]), names
  )
  assert len(windows) == 3  # One series is missing throughout.
  assert [int(windows[i]['series']) for i in range(3)] == [0, 1, 0]
  daily = windows[1]['raw']
  assert daily.shape == (60,) and np.isnan(daily[40:]).all()


def test_series_missing_throughout_are_counted_in_a_warning(caplog):
  series_transforms.Windows(
    Records([example(), example(NAN, 1.0)]), ('t2m_hourly',)
  )
  assert 'left out 1 of 2 series' in caplog.text


def test_a_split_without_any_value_raises():
  with pytest.raises(ValueError, match='Every one of the 2 series in Records'):
    series_transforms.Windows(Records([example(NAN)] * 2), ('t2m_hourly',))


def test_a_series_that_the_data_lack_is_named():
  with pytest.raises(ValueError, match=r"no \['tp_hourly'\].*t2m_hourly"):
    series_transforms.Windows(Records([example()]), ('tp_hourly',))


def test_standardised_values_say_what_is_there():
  step = series_transforms.Standardise(
    np.float32([280, 270]), np.float32([2, 5]), np.array([4, 3])
  )
  result = step.map(
    {'series': np.int32(1), 'raw': np.float32([275, NAN, 260, NAN])}
  )
  np.testing.assert_array_equal(result['values'], [1, 0, -2, 0])
  np.testing.assert_array_equal(result['present'], [True, False, True, False])
  np.testing.assert_array_equal(result['inside'], [True, True, True, False])


def test_windows_are_moved_and_stretched_within_bounds():
  vary = series_transforms.Vary(shift=1.5, stretch=2.0)
  window = {
    'values': np.float32([-1, 1, 0]),
    'present': np.array([True, True, False]),
  }
  rng = np.random.default_rng(0)
  result = np.stack(
    [vary.random_map(window, rng)['values'] for _ in range(500)]
  )
  spread, middle = result[:, 1] - result[:, 0], result[:, :2].mean(1)
  assert 1 <= spread.min() < 1.05 and 3.8 < spread.max() <= 4
  assert -1.5 <= middle.min() < -1.4 and 1.4 < middle.max() <= 1.5
  assert not result[:, 2].any()


def test_a_padded_batch_of_an_evaluation_has_nothing_present():
  windows = series_transforms.Windows(Records([example()] * 3), ('t2m_hourly',))
  steps = [
    series_transforms.Standardise(*np.float32([[280], [1]]), np.array([60]))
  ]
  batches = list(
    pipelines.eval_batches(windows, steps, batch_size=2, seed=0, num_threads=0)
  )
  assert jax.tree.map(len, batches[1]) == dict.fromkeys(batches[1], 2)
  np.testing.assert_array_equal(batches[1]['present'].any(1), [True, False])
  np.testing.assert_array_equal(batches[1]['valid'], [True, False])
