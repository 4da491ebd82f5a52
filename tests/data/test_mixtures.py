"""Mixtures: shares, epochs, one order for any processes, bad input."""

import json
import pathlib
import shutil

import ml_collections
import numpy as np
import pytest

from fusion_jax.assembly import data_folder
from fusion_jax.configs import common
from fusion_jax.data import (
  merged_statistics,
  mixture_folders,
  mixtures,
  pipelines,
)
from fusion_jax.data.builders import shards, statistics


class Numbers:
  """Examples whose time is a number; 12 hours of weather around a mean."""

  def __init__(self, first, count, mean=280.0, extra=()):
    self.splits = {'train': count, 'val': 3}
    self._first, self._mean, self._extra = first, mean, extra

  def example(self, split, i):
    number = self._first + i + (500 if split == 'val' else 0)
    rng = np.random.default_rng(number)
    series = rng.normal(self._mean, 5, 60).astype(np.float32)
    return {
      'key': f'{split} {number}',
      'lat': 1.0,
      'lon': 2.0,
      'time': np.int64(number),
      'S2L2A': rng.integers(0, 9_000, (8, 8, 12), np.int16),
      't2m_hourly': series,
    } | {name: series for name in self._extra}


def build(folder, *args, **kwargs):
  shards.build(
    shards.Indexed(Numbers(*args, **kwargs), examples_per_shard=4), folder
  )
  return folder


@pytest.fixture(name='folders', scope='module')
def _folders(tmp_path_factory):
  root = tmp_path_factory.mktemp('parts')
  return {
    'big': build(root / 'big', 0, 12, mean=270.0),
    'small': build(root / 'small', 1_000, 5, mean=290.0),
  }


@pytest.fixture(name='mixed', scope='module')
def _mixed(folders, tmp_path_factory):
  folder = tmp_path_factory.mktemp('mixture')
  mixture_folders.write(
    {'small': (folders['small'], 0.2), 'big': (folders['big'], 0.8)}, folder
  )
  return folder


def numbers(folder, count, index=0, processes=1, batch_size=6, state=None):
  """The numbers of the examples of the first batches [count, batch_size]."""
  batches = pipelines.train_batches(
    pipelines.open_source(folder, 'train'),
    (),
    batch_size=batch_size,
    seed=3,
    process_index=index,
    process_count=processes,
  )
  if state is not None:
    batches.set_state(state)
  taken = [next(batches)['time'] for _ in range(count)]
  return np.stack(taken), batches.get_state()


@pytest.mark.parametrize(
  'weights', [(0.8, 0.2), (0.7, 0.3), (5, 1, 3), (1e-3, 1)]
)
def test_any_window_has_the_shares_of_the_weights(weights):
  parts = {f'p{i}': [{'part': i}] * (70_000 + i) for i in range(len(weights))}
  order = mixtures.Mixture(parts, dict(zip(parts, weights))).ordered(0)
  for first in (0, 10**9):  # Far into a run, too.
    seen = np.array([order[first + i]['part'] for i in range(1_000)])
    for part, weight in enumerate(weights):
      counts = np.cumsum(np.concatenate([[0], seen == part]))
      for size in (10, 100, 999):
        share = (counts[size:] - counts[:-size]) / size
        expected = weight / sum(weights)
        assert np.abs(share - expected).max() * size < len(weights)


def test_every_example_of_a_part_comes_once_in_each_of_its_epochs(mixed):
  seen = numbers(mixed, 50)[0].ravel()
  for first, count, share in ((0, 12, 0.8), (1_000, 5, 0.2)):
    own = seen[(seen >= first) & (seen < first + 500)]
    assert len(own) == pytest.approx(share * len(seen), abs=1)
    epochs = own[: len(own) // count * count].reshape(-1, count)
    np.testing.assert_array_equal(
      np.sort(epochs),
      np.tile(np.arange(first, first + count), (len(epochs), 1)),
    )
    assert len({tuple(epoch) for epoch in epochs}) > len(epochs) // 2


def test_parts_of_one_size_do_not_follow_each_other(folders, tmp_path):
  other = build(tmp_path / 'other', 2_000, 12)
  mixture_folders.write(
    {'a': (folders['big'], 1), 'b': (other, 1)}, tmp_path / 'mixture'
  )
  seen = numbers(tmp_path / 'mixture', 4)[0].ravel()
  assert (seen[seen < 1_000] != seen[seen >= 1_000] - 2_000).any()


@pytest.mark.parametrize('processes', [2, 3])
def test_processes_share_one_order_and_resume_it_anywhere(mixed, processes):
  whole, _ = numbers(mixed, 12)
  for stop in (1, 7):
    first, state = numbers(mixed, stop)
    np.testing.assert_array_equal(first, whole[:stop])
    state = json.loads(json.dumps(state))
    for i in range(processes):
      part, _ = numbers(mixed, 12 - stop, i, processes, state=state)
      share = np.split(whole[stop:], processes, axis=1)[i]
      np.testing.assert_array_equal(part, share)


def test_a_part_keeps_its_order_beside_any_other(folders, mixed, tmp_path):
  mixture_folders.write({'big': (folders['big'], 3.0)}, tmp_path)
  alone = numbers(tmp_path, 8)[0].ravel()
  seen = numbers(mixed, 10)[0].ravel()
  np.testing.assert_array_equal(seen[seen < 1_000], alone)


def test_a_mixture_reads_as_all_examples_of_its_parts(mixed):
  source = pipelines.open_source(mixed, 'val')
  assert isinstance(source, mixtures.Mixture)
  assert list(source.parts) == ['big', 'small']
  times = [int(source[i]['time']) for i in range(len(source))]
  assert times == [500, 501, 502, 1_500, 1_501, 1_502]
  with pytest.raises(IndexError, match='no example 6 among 6'):
    source[6]
  with pytest.raises(ValueError, match="big, small has .*split 'test'"):
    pipelines.open_source(mixed, 'test')


def test_a_weight_of_zero_leaves_a_part_out(folders, tmp_path, caplog):
  with caplog.at_level('WARNING'):
    mixture_folders.write(
      {'big': (folders['big'], 2), 'small': (folders['small'], 0)}, tmp_path
    )
  assert 'config.data.parts.small has the weight 0' in caplog.text
  assert list(pipelines.open_source(tmp_path, 'train').parts) == ['big']


def test_statistics_count_every_part_by_its_weight():
  """Parts as large as their weights: then it is the statistics of all."""
  rng = np.random.default_rng(0)
  accumulated = []
  for size, mean in ((160, 270.0), (40, 290.0)):
    part = statistics.Series('tp_hourly')
    values = rng.gamma(0.3, 2.0, (size, 60)) * (rng.random((size, 60)) < 0.4)
    values[rng.random(values.shape) < 0.1] = np.nan
    part.add((values * mean / 270).astype(np.float32))
    accumulated.append(part)
  parts = {
    name: {'version': '1', 'images': {}, 'series': {'tp_hourly': s.summary()}}
    for name, s in zip('ab', accumulated)
  }
  actual = merged_statistics.merge(parts, {'a': 0.8, 'b': 0.2})
  actual = actual['series']['tp_hourly']
  expected = accumulated[0].merge(accumulated[1]).summary()
  for name in ('count', 'missing', 'fitted_on', 'min', 'max'):
    assert actual[name] == expected[name], name
  for name in ('mean', 'std'):
    assert actual[name] == pytest.approx(expected[name], rel=0.01)
  assert actual['uniform'] == expected['uniform']
  ranks = np.linspace(0, 1, 501)
  edges = actual['quantile']['edges']
  at = np.interp(edges, expected['quantile']['edges'], ranks)
  np.testing.assert_allclose(at, ranks, atol=0.003)


def test_statistics_of_equal_parts_are_those_of_one(folders):
  content = json.loads((folders['big'] / 'statistics.json').read_text())
  merged = merged_statistics.merge(
    {'a': content, 'b': content}, {'a': 0.3, 'b': 0.7}
  )
  for name in ('mean', 'std'):
    np.testing.assert_allclose(
      merged['images']['S2L2A'][name], content['images']['S2L2A'][name]
    )
  one, two = merged['series']['t2m_hourly'], content['series']['t2m_hourly']
  np.testing.assert_allclose(one['mean_by_lead'], two['mean_by_lead'])
  for kind in ('edges', 'medians'):
    np.testing.assert_allclose(one['quantile'][kind], two['quantile'][kind])
  assert merged['num_examples'] == {'train': 24, 'val': 6}
  assert merged['parts'] == {'a': 0.3, 'b': 0.7}


def test_moments_of_images_are_those_of_the_mixture():
  images = {
    'a': {'S2L2A': {'mean': [1.0, 0.0], 'std': [1.0, 2.0]}},
    'b': {'S2L2A': {'mean': [5.0, 0.0], 'std': [3.0, 2.0]}},
    'c': {},
  }
  parts = {n: {'images': i, 'series': {}} for n, i in images.items()}
  merged = merged_statistics.merge(parts, {'a': 3, 'b': 1, 'c': 9})
  # 0.75 * (1 + 1) + 0.25 * (9 + 25) - 2^2 = 6.
  actual = merged['images']['S2L2A']
  np.testing.assert_allclose(actual['mean'], [2, 0])
  np.testing.assert_allclose(actual['std'], [np.sqrt(6), 2])


def test_quantiles_keep_what_many_values_share():
  """Half of one part is exactly 1; the other part is uniform in 0..2."""
  one = np.interp(np.linspace(0, 1, 101), [0, 0.25, 0.75, 1], [0, 1, 1, 2])
  two = np.linspace(0, 2, 101)
  mixed = merged_statistics.quantiles([one, two], [1.0, 1.0])
  share = np.mean(mixed == 1.0)
  assert share == pytest.approx(0.25, abs=0.02)
  np.testing.assert_allclose(mixed[[0, 50, 100]], [0, 1, 2])


@pytest.mark.parametrize(
  'weights, message',
  [
    ({'big': -0.5, 'small': 1}, r'parts\.big\.weight=-0\.5 is no share'),
    ({'big': float('nan'), 'small': 1}, r'big\.weight=nan is no share'),
    ({'big': float('inf'), 'small': 1}, r'big\.weight=inf is no share'),
    ({'big': '1', 'small': 1}, r"big\.weight='1' is no share"),
    ({'big': 0, 'small': 0.0}, 'do not sum to a positive number'),
    ({}, 'do not sum to a positive number'),
  ],
)
def test_weights_that_give_no_shares_raise(folders, tmp_path, weights, message):
  parts = {name: (folders[name], weight) for name, weight in weights.items()}
  with pytest.raises(ValueError, match=message):
    mixture_folders.write(parts, tmp_path)
  assert not list(tmp_path.iterdir())


def test_a_weight_of_an_absent_set_raises(folders, tmp_path):
  config = ml_collections.ConfigDict(common.TERRAMESH_PARTS)
  config.parts.majortom.dir = str(folders['big'])
  with pytest.raises(
    ValueError,
    match=r'parts\.ssl4eos12\.weight=0\.8 is of an absent data set: set .*dir',
  ):
    data_folder.open_parts(config, tmp_path)
  config.parts.ssl4eos12.dir = str(tmp_path / 'nowhere')
  with pytest.raises(
    FileNotFoundError, match=r'parts\.ssl4eos12: .*no finished data set in'
  ):
    data_folder.open_parts(config, tmp_path)
  with pytest.raises(ValueError, match="weight for 'b', but the parts are"):
    mixtures.Mixture({'a': [{}]}, {'a': 1, 'b': 1})


def test_a_single_set_beside_parts_raises(folders, tmp_path):
  config = ml_collections.ConfigDict(common.TERRAMESH_PARTS)
  config.dir = str(folders['big'])
  with pytest.raises(ValueError, match='config.data.dir=.* is set beside'):
    data_folder.open_parts(config, tmp_path)


def change(folder, name, edit):
  path = pathlib.Path(folder, name)
  content = json.loads(path.read_text())
  edit(content)
  path.write_text(json.dumps(content))


def test_parts_that_are_no_mixture_raise(folders, tmp_path):
  def write(**parts):
    mixture_folders.write(
      {name: (path, 1) for name, path in parts.items()}, tmp_path / 'mixture'
    )

  big, small = folders['big'], folders['small']
  link = tmp_path / 'link'
  link.symlink_to(big)
  with pytest.raises(ValueError, match="other.dir=.* also the folder of 'big'"):
    write(big=big, other=link)
  copy = shutil.copytree(big, tmp_path / 'copy')
  with pytest.raises(
    ValueError, match="other.dir=.* holds the same examples as 'big'"
  ):
    write(big=big, other=copy)
  with pytest.raises(ValueError, match="a part 'loss'; use letters"):
    write(big=big, loss=small)
  with pytest.raises(ValueError, match="a part 'a/b'"):
    write(**{'a/b': big})
  more = build(tmp_path / 'more', 9_000, 4, extra=('tp_hourly',))
  with pytest.raises(
    ValueError,
    match=r'field tp_hourly of config.data.parts.more is \{.*missing',
  ):
    write(big=big, more=more)
  other = shutil.copytree(small, tmp_path / 'other')
  (other / 'coords_tokenizer.json').write_text('{}')
  with pytest.raises(
    ValueError, match='parts.big lacks coords_tokenizer.json, which other has'
  ):
    write(big=big, other=other)
  (other / 'coords_tokenizer.json').unlink()
  (other / 'codes.json').write_text('{"tokenizers": {"tok": "abc"}}')
  with pytest.raises(ValueError, match='other are of other tokenizers than'):
    write(big=big, other=other)
  (other / 'codes.json').unlink()
  change(other, 'statistics.json', lambda s: s.update(version='0.9'))
  with pytest.raises(
    ValueError, match="parts.other and big differ in 'version'"
  ):
    write(big=big, other=other)
  assert not (tmp_path / 'mixture').exists()


def test_a_set_without_examples_raises(folders, tmp_path):
  empty = shutil.copytree(folders['small'], tmp_path / 'empty')

  def remove_train(info):
    for split in info['splits']:
      if split['name'] == 'train':
        split['shardLengths'] = []

  change(empty, 'dataset_info.json', remove_train)
  parts = {'big': (folders['big'], 1), 'empty': (empty, 1)}
  with pytest.raises(
    ValueError,
    match=r"parts\.empty\.dir=.* has no examples of the split 'train'",
  ):
    mixture_folders.write(parts, tmp_path / 'mixture')
  with pytest.raises(ValueError, match="data set 'b' has no examples"):
    mixtures.Mixture({'a': [{}], 'b': []}, {'a': 1, 'b': 1}).ordered(0)
