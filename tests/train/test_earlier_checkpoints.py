"""Checkpoints of runs that began before the second interface of Orbax."""

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from fusion_jax.train import checkpoint, data_position, retention
from tests.train import test_checkpoint

pytestmark = pytest.mark.multi_device


class Position(data_position.Saved):
  """Hands a position to Grain's handler, as runs did then."""

  def get_state(self):
    return b'{"next_index": 7}'


def save_as_before(workdir, scores):
  """Saves a step for each score, as the package did until November 2026."""
  policies = ocp.checkpoint_managers
  with ocp.CheckpointManager(
    workdir / checkpoint.DIRECTORY,
    item_handlers={
      'state': ocp.StandardCheckpointHandler(),
      'batches': grain.checkpoint.CheckpointHandler(),
      'metadata': ocp.JsonCheckpointHandler(),
    },
    options=ocp.CheckpointManagerOptions(
      preservation_policy=policies.LatestN(len(scores)),
      best_fn=lambda metrics: metrics['x'],
      best_mode='min',
    ),
  ) as manager:
    for step, score in scores.items():
      metrics = {'x': score}
      metadata = {
        'config': {'seed': 3},
        'best': {'metric': 'x', 'mode': 'min'},
        'metrics': metrics,
      }
      manager.save(
        step,
        metrics=metrics,
        force=True,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(test_checkpoint.new_state(use_ema=True)),
          batches=grain.checkpoint.CheckpointSave(Position(None)),
          metadata=ocp.args.JsonSave(metadata),
        ),
      )


def test_earlier_checkpoints_are_read_resumed_and_replaced(tmp_path):
  value = test_checkpoint.new_state(use_ema=True)
  save_as_before(tmp_path, {1: 0.5, 2: 0.25, 3: 1.0})
  assert checkpoint.find_step(tmp_path, 'best') == 2

  params, metadata = checkpoint.restore_params(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, params, value.ema)
  assert metadata['config'] == {'seed': 3}

  position = test_checkpoint.Position()
  restored, metadata = test_checkpoint.restore(tmp_path, value, position)
  jax.tree.map(np.testing.assert_array_equal, restored, value)
  assert position.state == {'next_index': 7}
  assert metadata['metrics'] == {'x': 1.0}

  saver = checkpoint.Checkpoints(tmp_path, retention.Keep(last=1, best='x'))
  saver.save(4, value, {'next_index': 8}, {'config': {}}, {'x': 2.0})
  saver.close()
  assert checkpoint.list_steps(tmp_path) == [2, 4]
