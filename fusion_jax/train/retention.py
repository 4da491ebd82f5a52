"""Which checkpoints of a run are kept."""

import dataclasses
import math
from typing import Any

from orbax.checkpoint import v1 as ocp

_policies = ocp.training.preservation_policies


@dataclasses.dataclass(frozen=True)
class Keep:
  """Which checkpoints of a run are kept, of `config.checkpoint`.

  Attributes:
    last: number of the latest checkpoints that are kept, at least 1.
    best: path of the metric that ranks checkpoints, such as 'val/loss'; ''
      keeps none for being good.
    best_mode: whether low ('min') or high ('max') values of it are good.
    num_best: number of the best checkpoints that are kept besides.
  """

  last: int = 1
  best: str = ''
  best_mode: str = 'min'
  num_best: int = 1

  def __post_init__(self) -> None:
    """Checks the fields.

    Raises:
      ValueError: for a `last` below 1 or an unknown `best_mode`.
    """
    if self.last < 1:
      raise ValueError(
        f'config.checkpoint.keep={self.last}: a run needs its latest '
        'checkpoint to be resumed; set it to 1 or more.'
      )
    if self.best_mode not in ('min', 'max'):
      raise ValueError(
        f"config.checkpoint.best_mode={self.best_mode!r} is neither 'min' nor "
        "'max'; say whether low or high values are good."
      )

  def policy(self) -> Any:
    """Returns these settings in the terms of Orbax."""
    latest = _policies.LatestN(self.last)
    if not self.best or not self.num_best:
      return latest
    worst = math.inf if self.best_mode == 'min' else -math.inf

    def rank(metrics: dict[str, float]) -> float:
      value = metrics[self.best]
      return value if math.isfinite(value) else worst

    best = _policies.BestN(
      get_metric_fn=rank,
      reverse=self.best_mode == 'min',
      n=self.num_best,
      keep_checkpoints_without_metrics=False,
    )
    return _policies.AnyPreservationPolicy([latest, best])
