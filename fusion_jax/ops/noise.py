"""Diffusion: noise schedules, noisy images, DDIM steps.

A noisy image is x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, with t = 0..999.
Schedules are NumPy tables of a_t. Source: the DDIM pipeline of TerraMind's
tokenizers (terrastackai/terratorch, commit 85467a9, `tokenizer/scheduling`),
after Song et al. 2021, arXiv:2010.02502, and Lin et al. 2024, arXiv:2305.08891
(zero terminal signal-to-noise ratio, 'trailing' steps).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from fusion_jax.types import Array

NUM_LEVELS = 1000  # Noise levels t of a schedule.
SPACINGS = ('trailing', 'leading', 'linspace')
KINDS = ('sample', 'epsilon', 'v_prediction')  # What a network can predict.

_MIN_BETA, _MAX_BETA = 1e-4, 0.02
_MAX_COSINE_BETA = 0.999
_MAX_LOG_SNR = 15.0


def signal_shares(
  schedule: str = 'linear', zero_terminal_snr: bool = True
) -> np.ndarray:
  """Returns the fraction a_t of the image in the variance of x_t.

  Args:
    schedule: 'linear' (that of the published tokenizers), 'scaled_linear',
      'squaredcos_cap_v2', or 'shifted_cosine:s' with a factor s > 0, which
      ends in pure noise in any case.
    zero_terminal_snr: whether to stretch the schedule so that a_999 is 0.

  Returns:
    [1000] float32, falling.

  Raises:
    ValueError: if there is no such schedule.
  """
  if schedule.startswith('shifted_cosine:'):
    return _shifted_cosine(float(schedule.partition(':')[2]))
  if schedule == 'linear':
    betas = _linspace(_MIN_BETA, _MAX_BETA)
  elif schedule == 'scaled_linear':
    betas = _linspace(_MIN_BETA**0.5, _MAX_BETA**0.5) ** 2
  elif schedule == 'squaredcos_cap_v2':
    betas = _cosine_betas()
  else:
    raise ValueError(
      f"There is no schedule {schedule!r}; choose 'linear', 'scaled_linear', "
      "'squaredcos_cap_v2' or 'shifted_cosine:s'."
    )
  shares = _cumulated(1 - betas)
  return _without_terminal_signal(shares) if zero_terminal_snr else shares


def time_steps(num_steps: int, spacing: str = 'trailing') -> np.ndarray:
  """Returns the noise levels t that a sampler visits, from noisy to clean.

  Args:
    num_steps: number of steps, 1..1000.
    spacing: 'trailing' goes down from 999 in strides of 1000 // num_steps. It
      makes more steps than asked for if they do not divide 1000 (31 for 30);
      the published weights were tuned to that. 'leading' ends at 0; 'linspace'
      contains both ends.

  Returns:
    [n] int32.

  Raises:
    ValueError: if `num_steps` is out of range, or if there is no such spacing.
  """
  if not 1 <= num_steps <= NUM_LEVELS:
    raise ValueError(
      f'num_steps={num_steps} is not in 1..{NUM_LEVELS}; choose a number of '
      'steps in this range.'
    )
  stride, last = NUM_LEVELS // num_steps, NUM_LEVELS - 1
  if spacing == 'trailing':
    return np.arange(last, -1, -stride, dtype=np.int32)
  if spacing == 'leading':
    return np.arange(num_steps, dtype=np.int32)[::-1] * stride
  if spacing == 'linspace':
    return last - np.round(np.linspace(0, last, num_steps)).astype(np.int32)
  raise ValueError(f'spacing={spacing!r} is not one of {SPACINGS}.')


def add_noise(
  images: Array, noise: Array, t: ArrayLike, shares: Array
) -> jax.Array:
  """Returns noisy images x_t.

  Args:
    images: [B, ...] float, clean images.
    noise: [B, ...] float, standard normal noise.
    t: [B] or [] int, noise levels in 0..999.
    shares: [1000] float32, the schedule a_t, as `signal_shares` returns it.

  Returns:
    [B, ...] float.
  """
  signal, other = _roots(t, shares, images.ndim)
  return signal * images + other * noise


def velocity(
  images: Array, noise: Array, t: ArrayLike, shares: Array
) -> jax.Array:
  """Returns the velocity sqrt(a_t) noise - sqrt(1 - a_t) x_0.

  Args:
    images: [B, ...] float, clean images x_0.
    noise: [B, ...] float, standard normal noise.
    t: [B] or [] int, noise levels in 0..999.
    shares: [1000] float32, the schedule a_t, as `signal_shares` returns it.

  Returns:
    [B, ...] float.
  """
  signal, other = _roots(t, shares, images.ndim)
  return signal * noise - other * images


def predictions(
  output: Array,
  noisy: Array,
  t: ArrayLike,
  shares: Array,
  kind: str = 'sample',
) -> tuple[Array, Array]:
  """Returns the clean image and the noise that an output of a network implies.

  Args:
    output: [B, ...] float, output of the network.
    noisy: [B, ...] float, noisy images x_t.
    t: [] or [B] int, noise levels in 0..999. An output of the kind 'epsilon'
      says nothing about the image where a_t is 0.
    shares: [1000] float32, the schedule a_t, as `signal_shares` returns it.
    kind: what the network predicts: 'sample' (the clean image), 'epsilon' (the
      noise) or 'v_prediction' (the velocity).

  Returns:
    The clean images x_0 and the noise, [B, ...] float each.

  Raises:
    ValueError: if there is no such kind.
  """
  signal, other = _roots(t, shares, noisy.ndim)
  if kind == 'sample':
    return output, (noisy - signal * output) / other
  if kind == 'epsilon':
    return (noisy - other * output) / signal, output
  if kind == 'v_prediction':
    return signal * noisy - other * output, signal * output + other * noisy
  raise ValueError(f'kind={kind!r} is not one of {KINDS}.')


def ddim_step(
  output: Array,
  noisy: Array,
  t: Array | int,
  stride: int,
  shares: Array,
  *,
  kind: str = 'sample',
  limit: Callable[[Array], Array] = lambda clean: clean,
  eta: float = 0.0,
  noise: Array | None = None,
) -> tuple[Array, Array]:
  """Takes one step of a DDIM sampler, from level t to level t - stride.

  Args:
    output: [B, ...] float, output of the network.
    noisy: [B, ...] float, noisy images x_t.
    t: [] int, noise level before the step.
    stride: number of levels to step down; a step below level 0 ends at the
      clean image.
    shares: [1000] float32, the schedule a_t, as `signal_shares` returns it.
    kind: what the network predicts: 'sample' (the clean image), 'epsilon' (the
      noise) or 'v_prediction' (the velocity).
    limit: function applied to the predicted clean image, for example `clip`.
      The noise is computed from the prediction before it is limited, as in the
      reference.
    eta: fraction of fresh noise: 0 is DDIM, 1 is DDPM.
    noise: [B, ...] float, fresh standard normal noise; needed if `eta` is not
      0.

  Returns:
    The images at the level t - stride, and the limited clean images, [B, ...]
    float each.
  """
  clean, implied = predictions(output, noisy, t, shares, kind)
  clean = limit(clean)
  shares = jnp.asarray(shares)
  share, next_t = shares[t], t - stride
  next_share = jnp.where(next_t < 0, 1.0, shares[jnp.maximum(next_t, 0)])
  variance = (1 - next_share) / (1 - share) * (1 - share / next_share)
  spread = eta * jnp.sqrt(variance)
  direction = jnp.sqrt(1 - next_share - spread**2) * implied
  result = jnp.sqrt(next_share) * clean + direction
  return result if noise is None else result + spread * noise, clean


def clip(clean: Array, bound: float = 1.0) -> jax.Array:
  """Limits images [...] to [-bound, bound] standard deviations; inf is none."""
  return jnp.clip(clean, -bound, bound)


def dynamic_threshold(
  clean: Array, ceiling: float = 1.0, quantile: float = 0.995
) -> jax.Array:
  """Limits each image to a quantile of its values, and scales it to [-1, 1].

  Args:
    clean: [B, ...] float, predicted clean images.
    ceiling: largest bound. With 1, the setting of the tokenizers, this function
      is `clip`.
    quantile: quantile of the absolute values that serves as the bound, but the
      bound is at least 1.

  Returns:
    [B, ...] float in [-1, 1].

  Source: Saharia et al. 2022, arXiv:2205.11487, Sec. 2.3.
  """
  flat = jnp.abs(clean).reshape(clean.shape[0], -1)
  bound = jnp.clip(jnp.quantile(flat, quantile, axis=1), 1.0, ceiling)
  bound = bound.reshape(-1, *(1,) * (clean.ndim - 1))
  return jnp.clip(clean, -bound, bound) / bound


def _roots(
  t: ArrayLike, shares: Array, ndim: int
) -> tuple[jax.Array, jax.Array]:
  """Returns sqrt(a_t) and sqrt(1 - a_t), shaped to broadcast to `ndim` axes."""
  share = jnp.asarray(shares)[jnp.asarray(t)]
  if share.ndim:
    share = share.reshape(*share.shape, *(1,) * (ndim - 1))
  return jnp.sqrt(share), jnp.sqrt(1 - share)


def _linspace(first: float, last: float) -> np.ndarray:
  """Returns [1000] float32, filled from both ends as PyTorch does it."""
  start, end = np.float32(first), np.float32(last)
  step = np.float64((end - start) / np.float32(NUM_LEVELS - 1))
  up = np.arange(NUM_LEVELS)
  rising, falling = start + step * up, end - step * up[::-1]
  return np.where(up < NUM_LEVELS // 2, rising, falling).astype(np.float32)


def _cosine_betas() -> np.ndarray:
  """Returns betas of Nichol and Dhariwal 2021, arXiv:2102.09672, Eq. (17)."""
  edges = np.arange(NUM_LEVELS + 1) / NUM_LEVELS
  shares = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.minimum(1 - shares[1:] / shares[:-1], _MAX_COSINE_BETA).astype(
    np.float32
  )


def _shifted_cosine(factor: float) -> np.ndarray:
  """Returns a schedule of Hoogeboom et al. 2023, arXiv:2301.11093, Sec. 3.1."""
  if not 0 < factor < np.inf:
    raise ValueError(f'shifted_cosine:{factor} needs a factor above 0.')
  inner = np.linspace(0, 1, NUM_LEVELS)[1:-1]
  log_snr = np.full(NUM_LEVELS, _MAX_LOG_SNR)
  log_snr[1:-1] = -2 * (np.log(np.tan(np.pi * inner / 2)) + np.log(factor))
  shares = 1 / (1 + np.exp(-np.clip(log_snr, -_MAX_LOG_SNR, _MAX_LOG_SNR)))
  shares[-1] = 0
  return shares.astype(np.float32)


def _without_terminal_signal(shares: np.ndarray) -> np.ndarray:
  """Applies Lin et al. 2024, Algorithm 1, in float32 and through its ratios."""
  roots = np.sqrt(shares)
  roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
  stretched = roots**2
  return _cumulated(
    np.concatenate([stretched[:1], stretched[1:] / stretched[:-1]])
  )


def _cumulated(factors: np.ndarray) -> np.ndarray:
  """Returns the running product, computed in float64, as float32."""
  return np.cumprod(factors.astype(np.float64)).astype(np.float32)
