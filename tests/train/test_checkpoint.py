"""Checkpoints: what is kept, what is read, and what is wrong with them."""

import errno
import gc
import json
import os
import resource
import shutil
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from fusion_jax.train import (
  checkpoint,
  checksums,
  data_position,
  description,
  recovery,
  retention,
  sharding,
  state,
)
from tests.train import harness

pytestmark = [
  pytest.mark.multi_device,
  # A failed save or restore leaves coroutines of Orbax unfinished.
  pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning'),
]


@pytest.fixture(autouse=True)
def collect_coroutines():
  """Before another test is blamed for them."""
  yield
  gc.collect()


class Position:
  """Stands for a data iterator."""

  def __init__(self):
    self.state = {'next_index': 0}

  def set_state(self, new):
    self.state = new


def new_state(width=8, use_ema=False, size=1):
  params = {
    'dense': {
      'kernel': np.full((width, 4 * size), 2.0, np.float32),
      'bias': np.arange(4, dtype=np.float32),
    }
  }
  mesh = sharding.make_mesh(2)
  made = state.create(params, {}, optax.adam(1e-3), use_ema=use_ema)
  return jax.device_put(made, sharding.state_shardings(made, mesh))


def shapes_of(value, mesh=None):
  mesh = mesh or sharding.make_mesh(2)
  shapes = jax.eval_shape(lambda: value)
  return sharding.with_shardings(
    shapes, sharding.state_shardings(shapes, mesh, min_size=1)
  )


def save(workdir, steps, value=None, metrics=None, **kept):
  value = new_state() if value is None else value
  saver = checkpoint.Checkpoints(workdir, retention.Keep(**kept))
  for step in steps:
    saver.save(
      step,
      value,
      {'next_index': step},
      {'config': {'seed': 3}},
      metrics and metrics[step],
    )
  saver.close()


def restore(workdir, value=None, position=None, mesh=None):
  saver = checkpoint.Checkpoints(workdir)
  try:
    return saver.restore(
      shapes_of(new_state() if value is None else value, mesh),
      position or Position(),
    )
  finally:
    saver.close()


def test_state_position_and_config_come_back(tmp_path):
  save(tmp_path, [5])
  position = Position()
  restored, metadata = restore(tmp_path, position=position)
  jax.tree.map(np.testing.assert_array_equal, restored, new_state())
  assert position.state == {'next_index': 5}
  assert metadata['config'] == {'seed': 3}


def test_last_and_best_are_kept(tmp_path):
  metrics = {
    1: {'x': 3.0},
    2: {'x': 1.0},
    3: {'x': float('nan')},
    4: {'y': 0.0},
    5: {'x': 2.0},
    6: {},
  }
  save(tmp_path, range(1, 7), metrics=metrics, last=2, num_best=1, best='x')
  assert checkpoint.list_steps(tmp_path) == [2, 5, 6]
  assert checkpoint.find_step(tmp_path, 'best') == 2
  assert checkpoint.find_step(tmp_path) == 6
  assert checkpoint.find_step(tmp_path, 5) == 5


def test_best_can_be_the_highest(tmp_path):
  metrics = {1: {'x': 3.0}, 2: {'x': 1.0}, 3: {'x': 2.0}}
  save(tmp_path, range(1, 4), metrics=metrics, best='x', best_mode='max')
  assert checkpoint.list_steps(tmp_path) == [1, 3]
  assert checkpoint.find_step(tmp_path, 'best') == 1


def test_best_of_a_run_without_metric_is_the_last(tmp_path):
  save(tmp_path, [1, 2], last=2)
  assert checkpoint.find_step(tmp_path, 'best') == 2


def test_wrong_settings_name_the_field_of_the_config():
  with pytest.raises(ValueError, match=r'config\.checkpoint\.keep=0.* set it'):
    retention.Keep(last=0)
  with pytest.raises(ValueError, match=r"config\.checkpoint\.best_mode='low'"):
    retention.Keep(best_mode='low')


def test_restoring_without_a_checkpoint_is_an_error(tmp_path):
  with pytest.raises(checkpoint.CheckpointError, match='holds no checkpoint'):
    restore(tmp_path)


def test_missing_checkpoint_is_an_error(tmp_path):
  with pytest.raises(checkpoint.CheckpointError, match="no checkpoint 'last'"):
    checkpoint.find_step(tmp_path)
  save(tmp_path, [3])
  with pytest.raises(checkpoint.CheckpointError, match=r'steps are \[3\]'):
    checkpoint.find_step(tmp_path, 4)
  with pytest.raises(checkpoint.CheckpointError, match="no checkpoint 'lats'"):
    checkpoint.find_step(tmp_path, 'lats')


@pytest.mark.parametrize('use_ema', [False, True])
def test_parameters_alone_need_no_model(tmp_path, use_ema):
  value = new_state(use_ema=use_ema)
  if use_ema:
    value = value.replace(ema=jax.tree.map(lambda x: x + 1, value.ema))
  save(tmp_path, [1], value)
  params, metadata = checkpoint.restore_params(tmp_path)
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(params))
  jax.tree.map(np.testing.assert_array_equal, params, value.eval_params)
  assert metadata['config'] == {'seed': 3}
  mesh = sharding.make_mesh(2, jax.devices()[:2])
  placed, _ = checkpoint.restore_params(tmp_path, mesh=mesh)
  assert placed['dense']['kernel'].sharding.mesh == mesh


def test_restored_onto_the_mesh_of_today(tmp_path):
  save(tmp_path, [1])
  mesh = sharding.make_mesh(2, jax.devices()[:2])
  restored, _ = restore(tmp_path, mesh=mesh)
  for leaf in jax.tree.leaves(restored):
    assert isinstance(leaf.sharding, jax.sharding.NamedSharding)
    assert leaf.sharding.mesh == mesh
  assert restored.params['dense']['kernel'].sharding.spec == P('fsdp')


def test_checkpoint_of_another_model_lists_what_differs(tmp_path):
  save(tmp_path, [1])
  other = new_state(width=16)
  other = other.replace(params=other.params | {'head': jnp.zeros(3)})
  with pytest.raises(checkpoint.CheckpointError) as caught:
    restore(tmp_path, other)
  message = str(caught.value)
  assert f'{tmp_path}/checkpoints/1 is of another model' in message
  assert 'params/dense/kernel: saved (8, 4), this model (16, 4)' in message
  assert 'params/head: saved nothing, this model (3,)' in message
  assert 'another --workdir' in message


def truncate(path):
  with open(path, 'r+b') as file:
    file.truncate(os.path.getsize(path) // 2)


@pytest.mark.parametrize(
  'damage', ['data', 'structure', 'metadata', 'position', 'state', 'metrics']
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
  tmp_path, damage, caplog
):
  scores = {step: {'x': step} for step in (1, 2)}
  save(tmp_path, [1, 2], metrics=scores, last=2, best='x')
  folder = tmp_path / 'checkpoints' / '2'
  if damage == 'metrics':
    (folder / 'metrics' / 'metrics').write_text('no JSON')
  elif damage == 'data':
    for file in (folder / 'state').rglob('d/*'):
      truncate(file)
  elif damage == 'structure':
    os.remove(folder / 'state' / '_METADATA')
  elif damage == 'metadata':
    truncate(folder / 'metadata' / 'data.json')
  elif damage == 'position':
    shutil.rmtree(folder / 'batches')
  else:
    shutil.rmtree(folder / 'state')
  restored, _ = restore(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, restored, new_state())
  assert checkpoint.list_steps(tmp_path) == [1]
  assert f'The checkpoint {folder} is damaged: the file ' in caplog.text
  assert 'step 1 is used instead' in caplog.text
  assert (tmp_path / 'damaged_checkpoints' / '2').is_dir()
  save(tmp_path, [2], last=2)  # Its number is free again.
  assert checkpoint.list_steps(tmp_path) == [1, 2]


def test_damaged_metrics_of_an_older_checkpoint_stop_no_run(tmp_path, caplog):
  scores = {step: {'x': step} for step in (1, 2)}
  save(tmp_path, [1, 2], metrics=scores, last=2, best='x')
  (tmp_path / 'checkpoints' / '1' / 'metrics' / 'metrics').write_text('no JSON')
  restore(tmp_path)
  assert checkpoint.list_steps(tmp_path) == [2]
  assert 'checkpoints/1 is damaged: the file metrics/metrics' in caplog.text


def test_files_that_cannot_be_read_are_not_called_damaged(
  tmp_path, monkeypatch
):
  save(tmp_path, [1, 2], last=2)

  def refuse(path, part):
    raise PermissionError(errno.EACCES, 'Permission denied', str(path))

  monkeypatch.setattr(recovery.checksums, 'verify', refuse)
  with pytest.raises(
    checkpoint.CheckpointError, match='cannot be read: .*Permission denied'
  ):
    restore(tmp_path)
  assert checkpoint.list_steps(tmp_path) == [1, 2]


def flip_bits(folder, number, seed=0):
  """Flips one bit at a time in the files of a folder; yields each place."""
  rng = np.random.default_rng(seed)
  files = sorted(
    path
    for path in folder.rglob('*')
    if path.is_file() and path.name != '_CHECKPOINT_METADATA'  # Has a time.
  )
  sizes = np.cumsum([path.stat().st_size for path in files])
  for place in rng.integers(sizes[-1], size=number):
    index = int(np.searchsorted(sizes, place, side='right'))
    path, content = files[index], files[index].read_bytes()
    offset = place - (sizes[index - 1] if index else 0)
    flipped = bytearray(content)
    flipped[offset] ^= 1 << rng.integers(8)
    path.write_bytes(flipped)
    yield f'{path.relative_to(folder)}, byte {offset}'
    path.write_bytes(content)


def test_every_flipped_bit_is_noticed(tmp_path):
  save(tmp_path, [3], noisy(1))
  folder = tmp_path / 'checkpoints' / '3'
  assert checksums.verify(folder)
  for place in flip_bits(folder, 100):
    with pytest.raises(
      checkpoint.CheckpointError, match=f'{folder} is damaged: the file .* is '
    ):
      recovery.newest_sound(str(tmp_path / 'checkpoints'), [3])
      pytest.fail(f'Nobody noticed {place}.')
  places = flip_bits(folder / 'state', 1)
  next(places)
  with pytest.raises(checkpoint.CheckpointError, match='not what was saved'):
    checkpoint.restore_params(tmp_path)
  assert next(places, None) is None  # The bit is back.
  restore(tmp_path, noisy(1))


def test_a_checkpoint_of_an_earlier_version_has_no_checksums(tmp_path):
  save(tmp_path, [3])
  (tmp_path / 'checkpoints' / '3' / 'checksums.json').unlink()
  assert not checksums.verify(tmp_path / 'checkpoints' / '3')
  restored, _ = restore(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, restored, new_state())


def test_checksums_wait_for_what_orbax_writes_in_a_thread(tmp_path):
  save(tmp_path, [3])
  folder = tmp_path / 'checkpoints' / '3'
  file = folder / '_CHECKPOINT_METADATA'
  whole = file.read_text()
  file.write_text(whole[:20])
  timer = threading.Timer(0.3, lambda: file.write_text(whole))
  timer.start()
  checksums.write(folder)
  assert checksums.verify(folder)
  file.unlink()
  with pytest.raises(TimeoutError, match='_CHECKPOINT_METADATA is not whole'):
    checksums.write(folder, timeout_s=0.1)


def test_torn_folders_are_ignored_and_removed(tmp_path):
  save(tmp_path, [1])
  torn = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp'
  shutil.copytree(tmp_path / 'checkpoints' / '1', torn)
  shutil.rmtree(torn / 'state' / 'd')
  assert checkpoint.list_steps(tmp_path) == [1]
  restore(tmp_path)
  for _ in range(300):  # Orbax removes them in a thread of its own.
    if not torn.exists():
      break
    time.sleep(0.1)
  assert not torn.exists()


def noisy(seed):
  """A state of 1.6 MB that does not compress."""
  value = new_state()
  kernel = np.random.default_rng(seed).random((200_000,), np.float32)
  return value.replace(
    params={'kernel': jnp.asarray(kernel)},
    opt_state={'mu': jnp.asarray(kernel[::-1] * seed)},
  )


def check_survivor(workdir, value):
  assert checkpoint.list_steps(workdir) == [1]
  restored, _ = restore(workdir, value)
  jax.tree.map(np.testing.assert_array_equal, restored, value)


def test_full_disk_leaves_the_last_good_checkpoint(small_disk):
  small_disk = small_disk(2)
  saver = checkpoint.Checkpoints(small_disk, retention.Keep(last=1))
  saver.save(1, noisy(1), {}, {})
  saver.wait()
  with pytest.raises(checkpoint.CheckpointError) as caught:
    for step in range(2, 5):
      saver.save(step, noisy(step), {}, {})
      saver.wait()
  message = str(caught.value)
  assert 'the disk is full; free some space' in message
  assert 'step 1 is the last good one' in message
  check_survivor(small_disk, noisy(1))


def test_failed_write_leaves_the_last_good_checkpoint(tmp_path):
  """The same without root: files may not grow beyond 100 kB."""
  saver = checkpoint.Checkpoints(tmp_path, retention.Keep(last=1))
  saver.save(1, noisy(1), {}, {})
  saver.wait()
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  try:
    with pytest.raises(
      checkpoint.CheckpointError,
      match='the disk is full.*step 1 is the last good',
    ):
      saver.save(2, noisy(2), {}, {})
      saver.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  check_survivor(tmp_path, noisy(1))


def test_other_failures_are_not_called_a_full_disk():
  saver = checkpoint.Checkpoints.__new__(checkpoint.Checkpoints)
  saver.directory = '/nowhere/checkpoints'
  with pytest.raises(checkpoint.CheckpointError, match='see the error above'):
    with saver._explain_failed_save():
      raise PermissionError(errno.EACCES, 'no')


def write_positions(folder, positions):
  for name in os.listdir(folder):
    os.remove(folder / name)
  for i, position in enumerate(positions):
    (folder / f'process_{i}-of-{len(positions)}.json').write_text(
      json.dumps(position)
    )
  checksums.write(folder.parent)


def test_any_number_of_processes_goes_on_at_the_same_batch(tmp_path):
  save(tmp_path, [7])
  folder = tmp_path / 'checkpoints' / '7' / 'batches'
  write_positions(folder, [{'next_index': 7}] * 4)
  position = Position()
  restore(tmp_path, position=position)
  assert position.state == {'next_index': 7}
  write_positions(folder, [{'next_index': 7}, {'next_index': 8}])
  with pytest.raises(data_position.ProcessCountError, match='with 2 proc'):
    restore(tmp_path)


def test_changed_config_is_said(caplog):
  description.log_config_changes(
    {'a': {'b': 1, 'c': 2}}, {'a': {'b': 1, 'c': 3}, 'd': 4}
  )
  assert [r.getMessage() for r in caplog.records] == [
    'config.a.c was 2 in the checkpoint and is now 3.',
    'config.d was None in the checkpoint and is now 4.',
  ]


def test_harness_reads_every_array(tmp_path):
  save(tmp_path, [1])
  arrays = harness.final_arrays(tmp_path)
  np.testing.assert_array_equal(
    arrays['params']['dense']['kernel'], new_state().params['dense']['kernel']
  )
  assert set(arrays) >= {'step', 'params', 'opt_state'}
