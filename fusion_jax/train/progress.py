"""One line a minute for a person, however often metrics are logged."""

import time

# Seconds between two lines.
PERIOD_S = 60.0


class Progress:
  """Gathers what the line tells: loss, speed, time left.

  Attributes:
    due: whether a line is due.
  """

  def __init__(self, num_steps: int, examples_per_step: int):
    """Starts to count.

    Args:
      num_steps: length of the whole run in steps.
      examples_per_step: examples of the global batch; 0 leaves examples/s out.
    """
    self._num_steps = num_steps
    self._examples = examples_per_step
    self._began: float | None = None  # When the first step ended.
    self._done = 0  # Steps since then.
    self._told = time.monotonic()
    self._reset()

  def step(self, seconds: float, loss: tuple[float, float]) -> None:
    """Adds a step.

    Args:
      seconds: its seconds; 0 where they are not known.
      loss: (sum, count) of its loss.
    """
    if self._began is None:
      self._began = time.monotonic()
    else:
      self._done += 1
    self._steps += 1
    self._seconds += seconds
    self._loss[0] += loss[0]
    self._loss[1] += loss[1]

  @property
  def due(self) -> bool:
    """Whether the last line is a minute old."""
    return time.monotonic() - self._told >= PERIOD_S

  def line(self, step: int) -> str:
    """Returns the line, about the steps since the last one.

    Args:
      step: number of steps done.
    """
    parts = [f'step {step}/{self._num_steps} ({step / self._num_steps:.0%})']
    if self._loss[1]:
      parts.append(f'loss {self._loss[0] / self._loss[1]:.4g}')
    if self._seconds:
      rate = self._steps / self._seconds
      parts.append(f'{rate:.3g} steps/s')
      if self._examples:
        parts.append(f'{rate * self._examples:.3g} examples/s')
    left = self._num_steps - step
    if left and self._done and self._began is not None:
      # Evaluations and checkpoints take their time again.
      since = time.monotonic() - self._began
      parts.append(f'{duration(left * since / self._done)} left')
    self._told = time.monotonic()
    self._reset()
    return ', '.join(parts)

  def _reset(self) -> None:
    self._steps, self._seconds, self._loss = 0, 0.0, [0.0, 0.0]


def duration(seconds: float) -> str:
  """Returns seconds in the largest unit that fits, such as '3.4 h'.

  Args:
    seconds: length of time.
  """
  for unit, size in (('days', 86_400), ('h', 3_600), ('min', 60)):
    if seconds >= 2 * size:
      return f'{seconds / size:.2g} {unit}'
  return f'{seconds:.0f} s'
