"""The settings of a run: how long it trains, and what watches it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from fusion_jax.train import retention


def _check_least(field: str, value: float, least: int) -> None:
  if value < least:
    raise ValueError(f'config.{field}={value}; set it to {least} or more.')


@dataclasses.dataclass(frozen=True)
class Watching:
  """What watches over a run, of `config.watch`.

  Attributes:
    hang_s: seconds without a finished step, outside of compilation, evaluations
      and saves, after which the run ends with the stacks of its threads; 0
      waits for ever.
    profile_start: number of steps done before the steps that are traced.
    profile_steps: number of steps that are traced; 0 traces none.
  """

  hang_s: float = 600.0
  profile_start: int = 0
  profile_steps: int = 0

  def __post_init__(self) -> None:
    """Checks every field by itself.

    Raises:
      ValueError: names the field of the configuration, its value and what it
        may be.
    """
    for field, value in (
      ('hang_s', self.hang_s),
      ('profile.start', self.profile_start),
      ('profile.steps', self.profile_steps),
    ):
      _check_least(f'watch.{field}', value, 0)


@dataclasses.dataclass(frozen=True)
class Settings:
  """How long, on how much and from which seed a run trains.

  Attributes:
    num_steps: length of the whole run in steps.
    batch_size: examples of a step, over all devices and processes.
    seed: seed of the parameters and of everything drawn within a step.
    accumulate: micro-batches of a step.
    ema_decay: decay of a running mean of the parameters; 0 keeps none.
    log_every: steps between two lines of the log, which are means over the
      steps in between; 0 writes one line, at the end.
    checkpoint_every: steps between two checkpoints; 0 saves at the end only.
    keep: which checkpoints are kept.
    watching: when a run hangs, and which of its steps are traced.
    config: configuration of the run as a JSON-like dict. It is stored with
      every checkpoint and compared when the run is resumed; the loop reads
      none of its fields.
    upgrade_config: function that brings the configuration in a checkpoint of
      an earlier version up to date, before it is compared.
  """

  num_steps: int
  batch_size: int
  seed: int
  accumulate: int = 1
  ema_decay: float = 0.0
  log_every: int = 100
  checkpoint_every: int = 1000
  keep: retention.Keep = retention.Keep()
  watching: Watching = Watching()
  config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  upgrade_config: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict

  def __post_init__(self) -> None:
    """Checks every field by itself.

    Raises:
      ValueError: names the field of the configuration, its value and what it
        may be.
    """
    for field, value, least in (
      ('num_steps', self.num_steps, 1),
      ('batch_size', self.batch_size, 1),
      ('accumulate', self.accumulate, 1),
      ('log_every', self.log_every, 0),
      ('checkpoint.every', self.checkpoint_every, 0),
    ):
      _check_least(field, value, least)
    if not 0 <= self.ema_decay < 1:
      raise ValueError(
        f'config.ema_decay={self.ema_decay} is not in [0, 1); 0 keeps no '
        'running mean, 0.999 averages over about 1,000 steps.'
      )
