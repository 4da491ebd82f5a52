"""Processes with other settings stop at the start, all of them."""

import contextlib
import json

import pytest

from fusion_jax.train import agreement
from tests.train import agreeing, harness

CONFIG = {'seed': 3, 'optimizer': {'peak_lr': 1e-3}}


def ask(first, second, devices=(1, 1)):
  """The last lines of two processes that compare their settings."""
  address = harness.free_address()
  with contextlib.ExitStack() as stack:
    both = [
      stack.enter_context(
        harness.start(
          agreeing.__file__,
          *('--configs', json.dumps([first, second])),
          *('--coordinator', address, '--num_processes', 2),
          *('--process_id', i),
          devices=devices[i],
        )
      )
      for i in range(2)
    ]
    outputs = [harness.finish(process) for process in both]
  return [output.strip().splitlines()[-1] for output in outputs]


@pytest.mark.slow
@pytest.mark.multi_device
def test_processes_that_agree_go_on():
  assert ask(CONFIG, CONFIG) == ['All agree.'] * 2


@pytest.mark.slow
@pytest.mark.multi_device
def test_every_process_names_the_field_that_differs():
  other = CONFIG | {'optimizer': {'peak_lr': 2e-3}}
  for line in ask(CONFIG, other):
    assert line == (
      'The processes of this run differ: config.optimizer.peak_lr is 0.001 in '
      'process 0 and 0.002 in process 1. Start all of them with the same '
      'command and the same code.'
    )


@pytest.mark.slow
@pytest.mark.multi_device
def test_every_process_names_the_number_of_devices_that_differs():
  for line in ask(CONFIG, CONFIG, devices=(2, 1)):
    assert 'the number of devices is 2 in process 0, 1 in process 1.' in line


def test_one_process_has_nobody_to_disagree_with():
  agreement.check({'seed': object()})


@pytest.mark.parametrize('name', ['the code', '--workdir', 'jax'])
def test_code_and_folder_are_compared(monkeypatch, name):
  own = agreement._fields(CONFIG, 'runs/a')
  assert own['config.optimizer.peak_lr'] == '0.001'
  monkeypatch.setattr(agreement.jax, 'process_count', lambda: 2)
  other = json.dumps(own | {name: 'other'})
  monkeypatch.setattr(
    agreement.processes, 'from_all', lambda text: [text, other]
  )
  with pytest.raises(
    agreement.DisagreementError, match=f'{name} is ".*" in process 0 and other'
  ):
    agreement.check(CONFIG, 'runs/a')
