import jax
import numpy as np
import pytest

from fusion_jax.evals import selection
from fusion_jax.train import checkpoint, retention
from fusion_jax.train import state as state_lib


@pytest.mark.parametrize('mode, best_step', [('max', 4), ('min', 2)])
def test_the_best_checkpoint_is_judged(tmp_path, mode, best_step):
  saver = checkpoint.Checkpoints(
    tmp_path, retention.Keep(last=1, best='val/accuracy', best_mode=mode)
  )
  for step, score in (2, 0.3), (4, 0.6), (6, 0.5):
    state = state_lib.TrainState(
      step=jax.numpy.int32(step),
      params={'x': jax.numpy.full(3, float(step))},
      opt_state={},
      extra={},
      ema={},
    )
    saver.save(step, state, {}, {'config': {}}, {'val/accuracy': score})
  saver.close()
  params, step = selection.judged(state, 'val/accuracy', tmp_path)
  assert step == best_step
  np.testing.assert_array_equal(params['x'], best_step)
  assert selection.judged(state, '', tmp_path) == (state.params, 6)
