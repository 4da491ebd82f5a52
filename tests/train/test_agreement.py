"""Processes with other settings stop at the start, all of them."""

import json

import pytest

from fusion_jax.train import agreement
from tests.train import agreeing, harness

CONFIG = {'seed': 3, 'optimizer': {'peak_lr': 1e-3}}


def ask(first, second):
  outputs = harness.run_processes(
    agreeing.__file__, '--configs', json.dumps([first, second]), devices=1
  )
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
      'command, code and number of devices.'
    )


def test_one_process_has_nobody_to_disagree_with():
  agreement.check({'seed': object()})


def test_code_and_devices_are_compared(monkeypatch):
  own = agreement._fields(CONFIG)
  assert own['config.optimizer.peak_lr'] == 1e-3
  assert own['the number of devices'] == 8
  monkeypatch.setattr(agreement.jax, 'process_count', lambda: 2)
  other = json.dumps(own | {'the code': 'other'}).encode()
  monkeypatch.setattr(
    agreement, '_from_all_processes', lambda text: [text, other]
  )
  with pytest.raises(
    agreement.DisagreementError, match="the code is '.*' in process 0 and 'oth"
  ):
    agreement.check(CONFIG)
