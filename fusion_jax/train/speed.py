"""Speed: seconds of a step, and the FLOP/s that the devices could reach."""

import statistics
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

# Dense bfloat16 FLOP/s of one device, by what `device_kind` contains; the
# first entry that fits counts. Source: data sheets of NVIDIA and Google Cloud.
PEAK_FLOPS = {
  'A100': 312e12,
  'H100 PCIe': 756e12,
  'H100': 989e12,
  'H200': 989e12,
  'TPU v4': 275e12,
  'TPU v5 lite': 197e12,
  'TPU v5e': 197e12,
  'TPU v5': 459e12,
  'TPU v6': 918e12,
  'TPU7x': 2307e12,
}


class Clock:
  """Measures the seconds of each step, with pauses left out."""

  def __init__(self) -> None:
    """Makes a clock that stands still until `resume`."""
    self._last: float | None = None
    self._seconds: list[float] = []

  def tick(self) -> float:
    """Counts one step that has just ended; returns its seconds.

    They are 0 while the clock stands still.
    """
    if self._last is None:
      return 0.0
    now = time.perf_counter()
    seconds, self._last = now - self._last, now
    self._seconds.append(seconds)
    return seconds

  def pause(self) -> None:
    """Leaves out the time until `resume`."""
    self._last = None

  def resume(self) -> None:
    """Measures from now on."""
    self._last = time.perf_counter()

  def take(self) -> list[float]:
    """Returns the seconds of each step since the last call."""
    seconds, self._seconds = self._seconds, []
    return seconds


def peak_flops() -> float:
  """Returns the FLOP/s that all devices reach at best; 0 if it is not known.

  It comes from the table for accelerators. On CPU, whose virtual devices share
  the cores, it is that of a float32 product of 2048^3 for each process.
  """
  device = jax.devices()[0]
  if device.platform == 'cpu':
    return measure_product() * jax.process_count()
  for kind, flops in PEAK_FLOPS.items():
    if kind.lower() in device.device_kind.lower():
      return flops * jax.device_count()
  return 0


def summary(seconds: Sequence[float]) -> dict[str, float]:
  """Returns the mean and three percentiles of steps, {path: milliseconds}.

  Args:
    seconds: seconds of each step; at least one.
  """
  values = {'perf/step_ms': sum(seconds) / len(seconds) * 1e3}
  for percent in (50, 90, 99):
    value = float(np.percentile(seconds, percent))
    values[f'perf/step_ms_p{percent}'] = value * 1e3
  return values


def measure_product(size: int = 2048, repeats: int = 5) -> float:
  """Measures the FLOP/s of a float32 product [size, size] x [size, size].

  Args:
    size: rows and columns of the matrices.
    repeats: number of products, whose median time counts.
  """
  x = jax.device_put(
    np.random.default_rng(0).random((size, size), np.float32),
    jax.local_devices()[0],
  )
  product = jax.jit(jnp.matmul)
  product(x, x).block_until_ready()
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    product(x, x).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * size**3 / statistics.median(seconds)
