"""Loss of every modality over a whole split, which any mesh gives alike."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from fusion_jax.train import state as state_lib
from fusion_jax.train import task as task_lib
from fusion_jax.types import Batch

# Function from this process's share of a batch, [B / process_count, ...], to
# a dict of global arrays [B, ...].
Place = Callable[[Batch], Any]
# Function without arguments that starts a pass over batches.
Passes = Callable[[], Iterable[Batch]]


class Validation:
  """Evaluates a task's own losses on held-out batches.

  Sums and counts are added over all batches before anything is divided, so
  the numbers do not depend on how the split is cut into batches.
  """

  def __init__(
    self,
    task: task_lib.Objective,
    batches: Passes | Mapping[str, Passes],
    *,
    place: Place = jax.device_put,
    prefix: str = 'val',
  ):
    """Takes what it works with; nothing runs yet.

    Args:
      task: task whose `weigh` and `loss` are called. Its losses are the
        metrics called 'loss/<modality>'.
      batches: function without arguments that returns one pass over the split,
        this process's share of each batch; or {name of a part: such a
        function}. Tokens of examples that only fill the last batch up are
        padding.
      place: function from such a share to global arrays.
      prefix: start of the metric paths.
    """
    self._batches = batches if isinstance(batches, Mapping) else {'': batches}
    self._place = place
    self._prefix = prefix
    self._metrics = jax.jit(
      lambda params, extra, batch: task.loss(
        params, extra, task.weigh(batch), jax.random.key(0)
      )[1][0]
    )

  def __call__(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Evaluates the split.

    Args:
      state: state of the run.
      step: number of steps done; not used.

    Returns:
      {path: mean} of every metric, and the mean of the losses of the modalities
      that have targets, as 'val/...' over all parts and, if there are several,
      as 'val/<part>/...'. Over all parts every target counts the same,
      whatever their weights in training.
    """
    del step
    totals: dict[str, Any] = {}
    values: dict[str, float] = {}
    for part, batches in self._batches.items():
      sums = self._sums(state, batches())
      for name, pair in sums.items():
        totals[name] = totals.get(name, 0) + pair
      if len(self._batches) > 1:
        values |= _means(sums, f'{self._prefix}/{part}')
    return values | _means(totals, self._prefix)

  def _sums(
    self, state: state_lib.TrainState, batches: Iterable[Batch]
  ) -> dict[str, Any]:
    """Returns {metric: [2] sum and count} over some batches."""
    totals: dict[str, Any] = {}
    for batch in batches:
      metrics = jax.device_get(
        self._metrics(state.eval_params, state.extra, self._place(batch))
      )
      for name, pair in metrics.items():
        totals[name] = totals.get(name, 0) + np.asarray(pair, np.float64)
    return totals


def _means(totals: Mapping[str, Any], prefix: str) -> dict[str, float]:
  """Returns {path: mean} of sums and counts, and the mean of all losses."""
  means = {
    name: total / count for name, (total, count) in totals.items() if count > 0
  }
  # A modality without a target in the split has no loss; 0 would praise it.
  losses = [value for name, value in means.items() if name.startswith('loss/')]
  if losses:
    means['loss'] = sum(losses) / len(losses)
  return {f'{prefix}/{name}': value for name, value in means.items()}
