"""The copy of a run's checkpoints behind a URL."""

import shutil
import types
import uuid

import numpy as np
import pytest

from fusion_jax import checksums
from fusion_jax.data import storage
from fusion_jax.train import checkpoint, mirror, retention
from tests.data import object_servers
from tests.train import harness, regression


@pytest.fixture(name='url')
def _url():
  return f'memory://{uuid.uuid4().hex}/run'


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
  monkeypatch.setattr(storage, '_FIRST_WAIT_S', 0.02)
  monkeypatch.setattr(mirror, '_POLL_S', 0.05)


def run(folder, url, **settings):
  folder.mkdir(exist_ok=True)
  with mirror.mirrored(folder, url, 20.0):
    return regression.run(folder, **settings)


def steps(url):
  return mirror._whole_steps(storage.Storage(url).sizes())


@pytest.mark.filterwarnings('ignore:Sending a large body')  # By gcsfs.
@pytest.mark.parametrize(
  'kind', ['s3', pytest.param('gs', marks=pytest.mark.slow)]
)
def test_a_run_goes_on_from_its_mirror_bit_for_bit(kind, tmp_path, monkeypatch):
  regression.run(tmp_path / 'whole', num_steps=5)
  with object_servers.SERVERS[kind](monkeypatch) as bucket:
    run(tmp_path / 'lost', f'{bucket}/run', num_steps=5, stop_after=3)
    assert steps(f'{bucket}/run') == [2, 3]
    shutil.rmtree(tmp_path / 'lost')
    _, history = run(tmp_path / 'again', f'{bucket}/run', num_steps=5)
    assert steps(f'{bucket}/run') == [3, 4, 5]
  harness.assert_same_run(tmp_path / 'whole', tmp_path / 'again')
  assert [record['step'] for record in history] == [1, 2, 3, 4, 5]
  left = {path.name for path in (tmp_path / 'again').iterdir()}
  assert not left & {mirror._FETCHED, mirror._SENT}


def test_a_mirror_keeps_what_its_run_keeps(tmp_path, url):
  scores = {2: 1.0, 4: 3.0, 6: 2.0}
  evals = {'x': (2, lambda state, step: {'eval/x': scores[step]})}
  keep = retention.Keep(last=1, best='eval/x', best_mode='max')
  for name in ('codes/a.msgpack', 'codes/deeper/b.msgpack', 'own/c'):
    path = tmp_path / 'run' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name)
  kept = ['codes/a.msgpack', 'codes/deeper/b.msgpack']
  checksums.add(tmp_path / 'run', kept)
  run(tmp_path / 'run', url, num_steps=6, evals=evals, keep=keep)
  assert checkpoint.list_steps(tmp_path / 'run') == steps(url) == [4, 6]
  names = [n for n in storage.Storage(url).sizes() if '/' in n]
  folders = {n.split('/')[1] for n in names if n.startswith('checkpoints/')}
  assert folders == {'4', '6'}
  others = [n for n in names if not n.startswith('checkpoints/')]
  assert sorted(others) == kept
  run(tmp_path / 'again', url, num_steps=6, evals=evals, keep=keep)
  assert checkpoint.find_step(tmp_path / 'again', 'best') == 4
  assert checksums.verify(tmp_path / 'again')  # What lies beside, too.


def broken_after(monkeypatch, count):
  """Lets `count` files be written; all others fail."""
  put, done = storage.Storage.put, []

  def put_some(self, path, name):
    if len(done) >= count:
      raise storage.RemoteError(f'{self.url}/{name} cannot be written')
    done.append(name)
    put(self, path, name)

  monkeypatch.setattr(storage.Storage, 'put', put_some)
  return done


def test_a_half_written_checkpoint_is_not_read(
  tmp_path, url, monkeypatch, caplog
):
  """Whichever file is the last that was written."""
  run(tmp_path / 'run', url, num_steps=4, stop_after=2)
  count = len(list((tmp_path / 'run' / 'checkpoints' / '2').rglob('*')))
  for written in (0, 1, count // 2):
    with monkeypatch.context() as patch:
      broken_after(patch, written)
      with pytest.raises(
        storage.RemoteError, match='^The run is whole in .*/run, but not in its'
      ):
        run(tmp_path / 'run', url, num_steps=4)
    assert steps(url) == [2]
    shutil.rmtree(tmp_path / f'other{written}', ignore_errors=True)
    with mirror.mirrored(tmp_path / f'other{written}', url, 20.0):
      assert checkpoint.list_steps(tmp_path / f'other{written}') == [2]
  assert 'are not copied yet, which is tried again' in caplog.text
  run(tmp_path / 'run', url, num_steps=4)  # Only copies.
  assert steps(url) == [2, 4]


def test_another_save_of_a_step_replaces_the_first(tmp_path, url):
  run(tmp_path / 'one', url, num_steps=2)
  shutil.rmtree(tmp_path / 'one' / 'checkpoints')
  regression.run(tmp_path / 'one', num_steps=2, seed=1)
  with mirror.mirrored(tmp_path / 'one', url, 20.0):
    pass
  with mirror.mirrored(tmp_path / 'two', url, 20.0):
    pass
  names = sorted(
    str(p.relative_to(tmp_path / 'one' / 'checkpoints'))
    for p in (tmp_path / 'one' / 'checkpoints').rglob('*')
    if p.is_file()
  )
  assert [
    n.removeprefix('checkpoints/')
    for n in sorted(storage.Storage(url).sizes())
    if n.startswith('checkpoints/')
  ] == names
  one, two = (harness.final_arrays(tmp_path / x) for x in ('one', 'two'))
  np.testing.assert_array_equal(
    one['params']['in']['kernel'], two['params']['in']['kernel']
  )


def damage(url, step):
  """Flips a bit of the largest file of a checkpoint."""
  files = storage.Storage(url)
  sizes = files.sizes()
  own = [n for n in sizes if n.startswith(f'checkpoints/{step}/')]
  name = max(own, key=sizes.get)
  content = bytearray(files.read(name))
  content[len(content) // 2] ^= 1
  files._files.pipe_file(f'{files._root}/{name}', bytes(content))


def test_a_damaged_copy_is_left_out_with_a_warning(tmp_path, url, caplog):
  run(tmp_path / 'run', url, num_steps=4)
  damage(url, 4)
  with mirror.mirrored(tmp_path / 'again', url, 20.0):
    assert checkpoint.list_steps(tmp_path / 'again') == [2]
  assert f'{url}/checkpoints/4/ is damaged: the file' in caplog.text
  damage(url, 2)
  damage(url, 4)
  damage(url, 4)
  with pytest.raises(
    storage.RemoteError, match=f'No checkpoint of {url} is sound. Name another'
  ):
    with mirror.mirrored(tmp_path / 'third', url, 20.0):
      raise AssertionError('The run began.')


def test_a_run_with_checkpoints_of_its_own_fetches_none(tmp_path, url):
  run(tmp_path / 'run', url, num_steps=4)
  regression.run(tmp_path / 'other', num_steps=4, stop_after=2)
  with mirror.mirrored(tmp_path / 'other', 'memory://empty', 20.0):
    assert checkpoint.list_steps(tmp_path / 'other') == [2]
  before = checkpoint.list_steps(tmp_path / 'run')
  with mirror.mirrored(tmp_path / 'run', url, 20.0):
    assert checkpoint.list_steps(tmp_path / 'run') == before


def test_what_was_saved_before_an_error_is_copied(tmp_path, url):
  def fail(state, step):
    if step == 4:
      raise RuntimeError('An evaluation failed.')
    return {}

  with pytest.raises(RuntimeError, match='An evaluation failed'):
    run(tmp_path / 'run', url, num_steps=6, evals={'x': (1, fail)})
  assert steps(url) == [2]


def test_mirrors_that_cannot_be_used_raise_before_the_run(tmp_path):
  def start(url):
    with mirror.mirrored(tmp_path, url, 0.4):
      raise AssertionError('The run began.')

  with pytest.raises(ValueError, match='mirror=https://x can only be read'):
    start('https://x')
  with pytest.raises(ValueError, match='ftpp://x cannot be opened'):
    start('ftpp://x')


def test_a_mirror_that_does_not_answer_raises_before_the_run(
  tmp_path, monkeypatch
):
  with object_servers.web(faults={'*': '500'}) as server:
    object_servers.use_s3(monkeypatch, server.url)
    with pytest.raises(
      storage.RemoteError, match='^s3://bucket/run cannot be listed.*status 500'
    ):
      with mirror.mirrored(tmp_path, 's3://bucket/run', 4.0):
        raise AssertionError('The run began.')


def test_a_work_directory_behind_its_mirror_is_refused(tmp_path):
  source = tmp_path / 'there'
  (source / 'checkpoints' / '9').mkdir(parents=True)
  (source / 'checkpoints' / '9' / 'checksums.json').write_text('{}')
  here = tmp_path / 'here'
  (here / 'checkpoints' / '3').mkdir(parents=True)
  files = types.SimpleNamespace(
    url='gs://x',
    sizes=lambda: {
      str(path.relative_to(source)): path.stat().st_size
      for path in source.rglob('*')
      if path.is_file()
    },
  )
  with pytest.raises(storage.RemoteError, match='of step 9, but .* at step 3'):
    mirror._restore_once(files, here)
  (here / 'checkpoints' / '12').mkdir()
  mirror._restore_once(files, here)
