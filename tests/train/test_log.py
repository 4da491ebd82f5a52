"""Metrics in files and in TensorBoard, speed, the description of a run."""

import logging
import pathlib
import struct

import jax
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from fusion_jax.train import description, log, sharding, speed, tensorboard


def read_events(folder):
  """The events of every file of a folder, in TFRecord framing."""
  events = []
  for path in sorted(pathlib.Path(folder).iterdir()):
    data = path.read_bytes()
    while data:
      (size,) = struct.unpack('<Q', data[:8])
      events.append(event_pb2.Event.FromString(data[12 : 12 + size]))
      data = data[16 + size :]
  return events


def values_of(events):
  return {
    (event.step, value.tag): value
    for event in events
    for value in event.summary.value
  }


def test_tensorboard_gets_every_kind(tmp_path):
  writer = tensorboard.TensorBoardWriter(tmp_path)
  writer.write_scalars(3, {'train/loss': np.float32(0.5)})
  writer.write_images(
    3, {'one': np.zeros((4, 5, 3)), 'two': np.zeros((2, 4, 5, 1), np.uint8)}
  )
  writer.write_histograms(3, {'h': np.arange(10.0)}, {'h': 5})
  writer.write_texts(3, {'note': '**bold**'})
  writer.write_hparams({'lr': 1e-3, 'size': 'demo', 'shape': (1, 2)})
  writer.flush()
  writer.close()
  values = values_of(read_events(tmp_path))
  assert values[3, 'train/loss'].simple_value == 0.5
  assert (values[3, 'one'].image.height, values[3, 'one'].image.width) == (4, 5)
  assert (3, 'two/0') in values and (3, 'two/1') in values
  assert values[3, 'h'].histo.num == 10
  assert values[3, 'note/text_summary'].tensor.string_val == [b'**bold**']
  assert any('hparams' in tag for _, tag in values)


def test_tensorboard_tags_of_modalities_are_made_legal_in_silence(
  tmp_path, caplog
):
  caplog.set_level('INFO')
  writer = tensorboard.TensorBoardWriter(tmp_path)
  writer.write_scalars(1, {'loss/tok_dem@224': 1.0})
  writer.close()
  assert (1, 'loss/tok_dem_224') in values_of(read_events(tmp_path))
  assert not caplog.records


def test_tensorboard_hides_steps_that_are_done_again(tmp_path):
  tensorboard.TensorBoardWriter(tmp_path, 7).close()
  (start,) = [e for e in read_events(tmp_path) if e.HasField('session_log')]
  assert start.step == 8


def new_log(workdir, **kwargs):
  made = log.Log(str(workdir), num_steps=10, every=2, **kwargs)
  made.start()
  return made


def test_without_lines_in_between_there_is_one_at_the_end(tmp_path):
  made = log.Log(str(tmp_path), num_steps=2, every=0)
  made.start()
  for step in (1, 2):
    made.step(step, {'loss': (step, 1)})
  made.close()
  assert [(r['step'], r['train/loss']) for r in made.history] == [(2, 1.5)]


def test_lines_hold_means_over_counts_and_steps(tmp_path):
  made = new_log(tmp_path)
  made.step(1, {'loss': (1.0, 1), 'loss/a': (6.0, 3), 'loss/b': (0.0, 0)})
  made.step(2, {'loss': (3.0, 1), 'loss/a': (2.0, 1), 'loss/b': (0.0, 0)})
  made.close()
  assert made.history == [{'step': 2, 'train/loss': 2.0, 'train/loss/a': 2.0}]
  assert log.read_history(tmp_path / log.METRICS_FILE) == made.history
  values = values_of(read_events(tmp_path / 'tensorboard'))
  assert values[2, 'train/loss/a'].simple_value == 2.0


def test_last_step_is_always_logged(tmp_path):
  made = log.Log(str(tmp_path), num_steps=3, every=100)
  made.start()
  for step in (1, 2, 3):
    made.step(step, {'loss': (float(step), 1)})
  made.close()
  assert made.history == [{'step': 3, 'train/loss': 2.0}]


def test_floats_survive_the_file_exactly(tmp_path):
  made = new_log(tmp_path)
  made.write(1, {'x': np.float32(0.1), 'y': float('nan')})
  made.close()
  (record,) = log.read_history(tmp_path / log.METRICS_FILE)
  assert record['x'] == float(np.float32(0.1)) and np.isnan(record['y'])


def test_speed_counts_steps_and_leaves_out_pauses(tmp_path, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(speed.time, 'perf_counter', lambda: now[0])
  monkeypatch.setattr(speed, 'peak_flops', lambda: 1e9)
  made = new_log(tmp_path, tokens_per_step=100, flops_per_step=1e8)

  def step(number, seconds):
    now[0] += seconds
    made.step(number, {'loss': (1.0, 1)})

  made.resume()
  step(1, 0.5)
  made.pause()
  now[0] += 60.0  # An evaluation.
  made.resume()
  step(2, 0.3)
  made.close()
  (record,) = made.history
  assert record['perf/step_ms'] == pytest.approx(400)
  assert record['perf/tokens_per_s'] == pytest.approx(250)
  assert record['perf/mfu'] == pytest.approx(0.25)


class Device:
  def __init__(self, kind, platform='gpu'):
    self.device_kind = kind
    self.platform = platform


@pytest.mark.parametrize(
  'kind, tera',
  [
    ('NVIDIA A100-SXM4-80GB', 312),
    ('NVIDIA H100 80GB HBM3', 989),
    ('NVIDIA H100 PCIe', 756),
    ('NVIDIA H200', 989),
    ('TPU v4', 275),
    ('TPU v5 lite', 197),
    ('TPU v5p', 459),
    ('TPU v5', 459),
    ('TPU v6 lite', 918),
    ('Unknown', 0),
  ],
)
def test_peak_of_known_devices(monkeypatch, kind, tera):
  monkeypatch.setattr(jax, 'devices', lambda: [Device(kind)] * 4)
  monkeypatch.setattr(jax, 'device_count', lambda: 4)
  assert speed.peak_flops() == 4 * tera * 1e12


def test_peak_of_a_cpu_is_measured():
  assert speed.measure_product(size=256, repeats=2) > 1e8


@pytest.mark.multi_device
def test_start_says_versions_devices_parameters_and_ranges(caplog):
  with caplog.at_level(logging.INFO):
    description.log_run(sharding.make_mesh(2), 16, 2)
    description.log_parameters({'dense': {'kernel': np.zeros((3, 4))}})
    description.log_batch(
      {
        'x': {'y': np.array([-1.5, 2.0])},
        'gaps': np.array([np.nan, 3.0]),
        'flag': np.array([True, False]),
      }
    )
  for part in (
    'orbax-checkpoint',
    "'data': 4, 'fsdp': 2",
    '2 a device',
    '2 micro-batches',
    'dense/kernel',
    '(3, 4)',
    'x/y float64 [2]: -1.5 .. 2\n',
    '3 .. 3, 1 not finite',
    'flag bool [2]: 0 .. 1',
  ):
    assert part in caplog.text


def test_progress_bar_on_a_terminal(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(log.sys.stderr, 'isatty', lambda: True, raising=False)
  made = new_log(tmp_path)
  made.step(1, {'loss': (1.0, 1)})
  made.step(2, {'loss': (2.0, 1)})
  made.write(2, {'eval/r2': 0.75})
  made.close()
  out, err = capsys.readouterr()
  assert '2/10' in err and 'loss=1.5' in err and 'eval/r2 0.75' in out + err


def test_a_file_that_cannot_grow_is_named(tmp_path):
  made = new_log(tmp_path)

  class Full:
    def write(self, _):
      raise OSError(28, 'No space left on device')

    def close(self):
      pass

  made._file.close()
  made._file = Full()
  with pytest.raises(OSError, match='Cannot write metrics of step 4.*resume'):
    made.write(4, {'x': 1})
  made.close()
