"""An experiment that is stopped within a run says so."""

import types

import pytest

from fusion_jax.experiments import training


def test_a_stopped_run_is_told_with_its_folder_and_step(monkeypatch, tmp_path):
  config = types.SimpleNamespace(num_steps=10)
  for step in (10, 4):
    state = types.SimpleNamespace(step=step)
    monkeypatch.setattr(training.runs, 'run', lambda *args, s=state: s)
    if step == 10:
      training.finish(config, tmp_path)
      continue
    with pytest.raises(InterruptedError, match='stopped at step 4 of 10; run'):
      training.finish(config, tmp_path)
