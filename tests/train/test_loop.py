"""The loop: resume, stop, devices, bad losses."""

import os
import signal

import jax
import numpy as np
import pytest

from fusion_jax.train import checkpoint, log, loop
from tests.train import harness, regression

pytestmark = pytest.mark.multi_device


def test_resume_is_exact(tmp_path):
  whole, history = regression.run(tmp_path / 'whole', num_steps=5)
  stopped, _ = regression.run(tmp_path / 'halves', num_steps=5, stop_after=3)
  assert stopped.step == 3
  halves, resumed = regression.run(tmp_path / 'halves', num_steps=5)
  jax.tree.map(np.testing.assert_array_equal, whole, halves)
  harness.assert_same_run(tmp_path / 'whole', tmp_path / 'halves')
  assert [r['step'] for r in resumed] == [r['step'] for r in history]
  assert len({r['train/data/ids'] for r in history}) == 5
