"""Reading a data set, and the order, draws and resumption of its batches."""

import dataclasses
import json
import shutil

import grain
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from fusion_jax import modalities
from fusion_jax.data import budgets, normalize, pipelines
from fusion_jax.data.builders import shards
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.models import coordinate_tokenizer


class Noise:
  """Twelve training and five validation examples."""

  splits = {'train': 12, 'val': 5}

  def example(self, split, i):
    rng = np.random.default_rng(i)
    image = rng.integers(0, 9_000, (40, 40, 12), np.int16)
    return {
      'key': f'{split} {i}',
      'lat': 1.0 * i,
      'lon': -1.5 * i,
      'time': np.int64(i),
      'S2L2A': image[: 40 * (i != 3)],
      't2m_hourly': rng.normal(280, 9, 60).astype(np.float32),
    }


@pytest.fixture(name='folder', scope='module')
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp('noise')
  shards.build(shards.Indexed(Noise(), examples_per_shard=5), folder)
  return folder


@dataclasses.dataclass(frozen=True)
class Draw(grain.transforms.RandomMap):
  """Keeps which example it is, and a draw."""

  def random_map(self, example, rng):
    return {
      'time': example['time'],
      'draw': rng.integers(2**40),
      'modality': np.zeros(2, np.int32),
    }


def train(folder, steps=(Draw(),), **settings):
  source = pipelines.open_source(folder, 'train')
  settings = dict(batch_size=4, seed=0) | settings
  return pipelines.train_batches(source, steps, **settings)


def take(batches, count):
  return [next(batches) for _ in range(count)]


def slots_steps(folder):
  selected = modalities.select(
    ['untok_sen2l2a@224', 't2m_hourly', 'coords'], image_size=32
  )
  statistics = normalize.load_statistics(folder)
  return pretrain_transforms.pretraining(
    selected,
    image_size=32,
    num_slots=(16, 16),
    mixture=budgets.all_to_all(
      selected, num_inputs=(16, 16), num_targets=(16, 16)
    ),
    quantizers=normalize.quantizers(selected, statistics, 'quantile'),
    tokenizer=coordinate_tokenizer.build(),
    standards=normalize.standards(selected, statistics),
  )


def test_examples_equal_what_was_written_and_what_tfds_reads(folder):
  for split, count in Noise.splits.items():
    source = pipelines.open_source(folder, split)
    theirs = tfds.builder_from_directory(folder).as_data_source(split)
    assert len(source) == len(theirs) == count
    for i in range(count):
      actual, written = source[i], Noise().example(split, i)
      assert actual['key'] == written['key'] == theirs[i]['key'].decode()
      assert set(actual) == set(theirs[i])
      for name in set(actual) - {'key'}:
        np.testing.assert_array_equal(actual[name], theirs[i][name])
        assert actual[name].dtype == theirs[i][name].dtype
        if name in written:
          np.testing.assert_array_equal(actual[name], written[name])


def test_nested_fields_and_free_shapes_are_read(tmp_path):
  tensor = tfds.features.Tensor
  features = tfds.features.FeaturesDict(
    {
      'codes': {'tok': tensor(shape=(2, 3), dtype=np.uint16, encoding='bytes')},
      'image': tensor(shape=(None, None, 2), dtype=np.int16, encoding='bytes'),
    }
  )
  example = {
    'codes': {'tok': np.arange(6, dtype=np.uint16).reshape(2, 3)},
    'image': np.arange(300, dtype=np.int16).reshape(10, 15, 2),
  }
  serializer = tfds.core.example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  path = tmp_path / 'noise-val.array_record-00000-of-00001'
  writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')
  writer.write(serializer.serialize_example(features.encode_example(example)))
  writer.close()
  tfds.folder_dataset.write_metadata(
    data_dir=tmp_path,
    features=features,
    check_data=False,
    split_infos=[
      tfds.core.SplitInfo(name='val', shard_lengths=[1], num_bytes=1)
    ],
    filename_template='{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
  )
  info = json.loads((tmp_path / 'dataset_info.json').read_text())
  (tmp_path / 'dataset_info.json').write_text(
    json.dumps(info | {'name': 'noise'})
  )
  read = pipelines.open_source(tmp_path, 'val')[0]
  np.testing.assert_array_equal(read['codes/tok'], example['codes']['tok'])
  np.testing.assert_array_equal(read['image'], example['image'])


def test_an_epoch_holds_every_example_once_and_epochs_differ(folder):
  batches = take(train(folder), 9)  # Three epochs of twelve.
  epochs = np.concatenate([b['time'] for b in batches]).reshape(3, 12)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(12), (3, 1)))
  assert len({tuple(epoch) for epoch in epochs}) == 3
  draws = np.concatenate([b['draw'] for b in batches])
  assert len(set(draws.tolist())) == 36


def test_seeds_differ_and_repeat(folder):
  first, again, other = (
    take(train(folder, seed=seed), 3) for seed in (0, 0, 1)
  )
  np.testing.assert_equal(first, again)
  assert any((a['time'] != b['time']).any() for a, b in zip(first, other))


@pytest.mark.parametrize('count', [2, 4])
def test_processes_share_the_batches_of_one(folder, count):
  whole = take(train(folder, slots_steps(folder)), 5)
  parts = [
    take(
      train(folder, slots_steps(folder), process_index=i, process_count=count),
      5,
    )
    for i in range(count)
  ]
  for step, batch in enumerate(whole):
    for i in range(count):
      actual = {
        name: np.split(values, count)[i]
        for name, values in batch['encoder']['patches'].items()
      }
      np.testing.assert_equal(parts[i][step]['encoder']['patches'], actual)
      for name, values in batch['decoder'].items():
        np.testing.assert_array_equal(
          parts[i][step]['decoder'][name], np.split(values, count)[i]
        )


@pytest.mark.parametrize('num_threads', [0, 2])
def test_batches_resume_exactly_on_any_number_of_processes(folder, num_threads):
  batches = train(folder, num_threads=num_threads)
  take(batches, 5)
  state = json.loads(json.dumps(batches.get_state()))
  rest = take(batches, 4)
  again = train(folder, num_threads=num_threads)
  again.set_state(state)
  np.testing.assert_equal(take(again, 4), rest)
  for i in range(2):
    part = train(folder, process_index=i, process_count=2)
    part.set_state(state)
    for actual, whole in zip(take(part, 4), rest):
      np.testing.assert_array_equal(
        actual['draw'], np.split(whole['draw'], 2)[i]
      )


def test_evaluation_sees_every_example_once_and_marks_the_filling(folder):
  source = pipelines.open_source(folder, 'val')

  def run(**settings):
    return list(
      pipelines.eval_batches(
        source, (Draw(),), batch_size=4, seed=0, **settings
      )
    )

  batches = run()
  valid = np.concatenate([b['valid'] for b in batches])
  times = np.concatenate([b['time'] for b in batches])
  np.testing.assert_array_equal(valid, [True] * 5 + [False] * 3)
  np.testing.assert_array_equal(times, [0, 1, 2, 3, 4, 0, 0, 0])
  padding = np.concatenate([b['modality'] for b in batches])
  np.testing.assert_array_equal(
    padding, np.repeat([[0, 0], [-1, -1]], [5, 3], axis=0)
  )
  np.testing.assert_equal(run(), batches)
  for i in range(2):
    for actual, whole in zip(run(process_index=i, process_count=2), batches):
      np.testing.assert_equal(
        actual, {k: np.split(v, 2)[i] for k, v in whole.items()}
      )
  few = run(num_examples=3)
  np.testing.assert_array_equal(few[0]['valid'], [True] * 3 + [False])


def test_slots_leave_the_pipeline_with_fixed_shapes(folder):
  shapes = set()
  for batch in take(train(folder, slots_steps(folder)), 6):
    shapes.add(
      str({k: v.shape for k, v in batch['encoder'].items() if k != 'patches'})
    )
    patches = batch['encoder']['patches']['untok_sen2l2a@224']
    assert patches.shape == (4, 16, 3_072) and np.isfinite(patches).all()
    assert (batch['encoder']['modality'] >= 0).any()
    assert batch['clipped'].shape == (4,) and not batch['clipped'].any()
  assert len(shapes) == 1


def test_batches_that_do_not_divide_raise(folder):
  with pytest.raises(ValueError, match='batch_size=5 .* 2 processes; try 4'):
    train(folder, batch_size=5, process_index=0, process_count=2)
  with pytest.raises(ValueError, match='batch_size=0'):
    train(folder, batch_size=0, process_index=0, process_count=1)
  with pytest.raises(ValueError, match='no examples'):
    pipelines.train_batches([], (), batch_size=4, seed=0)


def test_data_sets_that_lack_what_is_asked_for_raise(folder, caplog):
  with pytest.raises(ValueError, match=r"no split 'test'; it has \['train'"):
    pipelines.open_source(folder, 'test')
  with pytest.raises(ValueError, match='nothing for .*dem.*fields are'):
    pipelines.open_source(folder, 'train', modalities.select(['DEM']))
  with pytest.raises(FileNotFoundError, match='no finished data set'):
    pipelines.open_source(folder / 'nowhere', 'train')
  with pytest.raises(FileNotFoundError, match='statistics.json is missing'):
    normalize.load_statistics(folder / 'nowhere')
  with caplog.at_level('WARNING'):
    pipelines.open_source(folder, 'train', modalities.select(['tok_dem@224']))
  assert 'no codes of' in caplog.text


def test_missing_and_truncated_shards_raise(folder, tmp_path):
  copy = shutil.copytree(folder, tmp_path / 'copy')
  shard_of = sorted(copy.glob('train-*'))
  shard_of[1].unlink()
  with pytest.raises(FileNotFoundError, match=shard_of[1].name):
    pipelines.open_source(copy, 'train')
  writer = array_record_module.ArrayRecordWriter(
    str(shard_of[1]), 'group_size:1'
  )
  writer.write(b'only one')
  writer.close()
  with pytest.raises(ValueError, match='not the 12 of dataset_info.json'):
    pipelines.open_source(copy, 'train')
  whole = shard_of[0].read_bytes()
  shard_of[0].write_bytes(whole[: len(whole) * 9 // 10])
  with pytest.raises(ValueError, match="shard of 'train' .* is damaged"):
    pipelines.open_source(copy, 'train')


def test_damaged_statistics_name_their_file(tmp_path):
  (tmp_path / 'statistics.json').write_text('{')
  with pytest.raises(
    ValueError, match=r'statistics.json is damaged \(.*copy it'
  ):
    normalize.load_statistics(tmp_path)
