"""What a task offers to the loop, and what its evaluations offer to a run.

These are protocols for the type checker: a class need not inherit from them.
Letters of shapes: B examples of a batch.
"""

import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from fusion_jax.train import state as state_lib
from fusion_jax.types import Array, Batch, Key, Metrics, Params

# One evaluation: from the state and the number of steps done to {path: number}.
Evaluation = Callable[[state_lib.TrainState, int], Mapping[str, float]]
# Steps between two evaluations (0: only after the last step), and what runs.
Hook = tuple[int, Evaluation]
# A line of metrics.jsonl: {'step': steps done, path: number}.
Record = dict[str, float]


class Batches(Protocol):
  """An iterator of batches that knows where it stands, as Grain's do.

  A batch is a nested dict of NumPy arrays: this process's share of the global
  batch, [B / process_count, ...].
  """

  def __iter__(self) -> Iterator[Batch]:
    """Returns the iterator itself."""
    ...

  def __next__(self) -> Batch:
    """Returns the next batch of arrays [B / process_count, ...]."""
    ...

  def get_state(self) -> Any:
    """Returns a JSON-like value that tells how many batches were taken."""
    ...

  def set_state(self, state: Any, /) -> None:
    """Goes to the place that `get_state` returned."""
    ...


class Objective(Protocol):
  """What one training step needs of a task: how a batch is scored."""

  def weigh(self, batch: Batch) -> Batch:
    """Adds to a batch what depends on all of its examples, such as counts.

    It runs inside jit, on the global batch, before micro-batches are cut.

    Args:
      batch: nested dict of arrays [B, ...] over all processes.

    Returns:
      The batch with more arrays [B, ...], such as the weight of each target.
    """
    ...

  def loss(
    self, params: Params, extra: Params, batch: Batch, key: Key
  ) -> tuple[Array, tuple[Metrics, Params]]:
    """Computes the loss of a weighed batch, or of one of its micro-batches.

    Args:
      params: nested dict of float32 arrays that are trained.
      extra: nested dict of arrays that the task carries from step to step.
      batch: result of `weigh`, arrays [B, ...].
      key: random key of this step.

    Returns:
      (loss, (metrics, extra)). The loss is a float32 scalar; losses of
      micro-batches add up to that of the batch. Metrics are {name: (sum,
      count)}, scalars that add up in the same way; the loss of one modality is
      called 'loss/<modality>'.
    """
    ...


class Task(Objective, Protocol):
  """A model, its loss and its data; it knows nothing of the loop."""

  @property
  def tokens_per_step(self) -> int:
    """Input and target tokens of a global batch; 0 reports no tokens/s."""
    ...

  def init(self, key: Key, batch: Batch) -> tuple[Params, Params]:
    """Makes the first parameters.

    Args:
      key: random key.
      batch: global batch, arrays [B, ...]; only its shapes should matter,
        unless the task starts from the data.

    Returns:
      (params, extra): nested dicts of arrays. `extra` holds what is carried
      from step to step without a gradient, such as a queue; {} for nothing.
    """
    ...

  def batches(self, split: str) -> Batches:
    """Reads a split.

    Args:
      split: 'train' for endless shuffled batches; of any other split every
        example comes once, always in the same order.

    Returns:
      An iterator over this process's share of each batch, arrays
      [B / process_count, ...].
    """
    ...

  def flops(self, batch: Batch) -> float:
    """Counts the floating-point operations that a training step has to do.

    Args:
      batch: this process's share of a batch, arrays [B / process_count, ...].

    Returns:
      Operations of the forward and backward pass over this share; 0 reports
      no utilisation.
    """
    ...

  def keep(self, workdir: pathlib.Path) -> None:
    """Writes the files that using the trained model needs.

    Args:
      workdir: folder of the run; configuration and statistics of the data are
        written there already.
    """
    ...


class Evals(Protocol):
  """The evaluations of a task, and the report that a run ends with."""

  def hooks(self) -> Mapping[str, Hook]:
    """Returns {name: (every, evaluation)}, what the loop runs and when."""
    ...

  def write(
    self,
    state: state_lib.TrainState,
    history: Sequence[Record],
    *,
    duration_s: float,
  ) -> None:
    """Writes report.md, metrics.json and pictures; all processes call it.

    Args:
      state: state after the last step.
      history: records of metrics.jsonl, [{'step': int, path: number}].
      duration_s: seconds that the run took.
    """
    ...
