"""Diffusion: noise schedules, forward noising, DDIM steps.

Images x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, t = 0..999. Schedules are
NumPy tables of a_t. Source: the DDIM pipeline of TerraMind's tokenizers
(terrastackai/terratorch, commit 85467a9, `tokenizer/scheduling`), after Song
et al. 2021, arXiv:2010.02502, and Lin et al. 2024, arXiv:2305.08891 (zero
terminal signal-to-noise ratio, 'trailing' steps).
"""

import jax.numpy as jnp
import numpy as np

NUM_LEVELS = 1000  # Noise levels t of a schedule.
SPACINGS = ('trailing', 'leading', 'linspace')
KINDS = ('sample', 'epsilon', 'v_prediction')  # What a network can predict.

_MIN_BETA, _MAX_BETA = 1e-4, 0.02
_MAX_COSINE_BETA = 0.999
_MAX_LOG_SNR = 15.0


def signal_shares(schedule='linear', zero_terminal_snr=True):
  """The share a_t of the image in the variance of x_t, [1000] float32.

  Args:
    schedule: 'linear' (the tokenizers'), 'scaled_linear', 'squaredcos_cap_v2'
      or 'shifted_cosine:s' with a factor s, which ends in noise alone anyway.
    zero_terminal_snr: whether to stretch the schedule so that a_999 is 0.

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


def time_steps(num_steps, spacing='trailing'):
  """The noise levels t a sampler visits, from noisy to clean, [n] int32.

  Args:
    num_steps: 1..1000.
    spacing: 'trailing' goes down from 999 in strides of 1000 // num_steps, and
      makes more steps than asked for if those do not divide 1000 (30: 31); the
      weights were tuned to that. 'leading' ends at 0; 'linspace' holds both
      ends.

  Raises:
    ValueError: for a number or a spacing that there is not.
  """
  if not 1 <= num_steps <= NUM_LEVELS:
    raise ValueError(f'num_steps={num_steps} is not in 1..{NUM_LEVELS}.')
  stride, last = NUM_LEVELS // num_steps, NUM_LEVELS - 1
  if spacing == 'trailing':
    return np.arange(last, -1, -stride, dtype=np.int32)
  if spacing == 'leading':
    return np.arange(num_steps, dtype=np.int32)[::-1] * stride
  if spacing == 'linspace':
    return last - np.round(np.linspace(0, last, num_steps)).astype(np.int32)
  raise ValueError(f'spacing={spacing!r} is none of {SPACINGS}.')


def add_noise(images, noise, t, shares):
  """x_t [B, ...] of images and noise [B, ...] at levels t [B]."""
  signal, other = _roots(t, shares, images.ndim)
  return signal * images + other * noise


def velocity(images, noise, t, shares):
  """v = sqrt(a_t) noise - sqrt(1 - a_t) x_0, arguments as in `add_noise`."""
  signal, other = _roots(t, shares, images.ndim)
  return signal * noise - other * images


def predictions(output, noisy, t, shares, kind='sample'):
  """What a network's output says about the clean image and about the noise.

  Args:
    output: [B, ...], the network's.
    noisy: [B, ...], x_t.
    t: [] or [B] int, at most 999. 'epsilon' says nothing where a_t is 0.
    shares: [1000], of `signal_shares`.
    kind: one of `KINDS`: the clean image, the noise, or the velocity.

  Returns:
    x_0 and noise, [B, ...] each.
  """
  signal, other = _roots(t, shares, noisy.ndim)
  if kind == 'sample':
    return output, (noisy - signal * output) / other
  if kind == 'epsilon':
    return (noisy - other * output) / signal, output
  if kind == 'v_prediction':
    return signal * noisy - other * output, signal * output + other * noisy
  raise ValueError(f'kind={kind!r} is none of {KINDS}.')


def ddim_step(
  output,
  noisy,
  t,
  stride,
  shares,
  *,
  kind='sample',
  limit=lambda clean: clean,
  eta=0.0,
  noise=None,
):
  """One step of a DDIM sampler from level t to level t - stride.

  Args:
    output: [B, ...], the network's.
    noisy: [B, ...], x_t.
    t: [] int, the level.
    stride: int; below level 0 there is the clean image.
    shares: [1000], of `signal_shares`.
    kind: one of `KINDS`.
    limit: applied to the prediction of the clean image, for example `clip`.
      The noise is that of the prediction as it was, as in the reference.
    eta: share of fresh noise: 0 is DDIM, 1 is DDPM.
    noise: [B, ...], needed if `eta` is not 0.

  Returns:
    x at the level t - stride, and the limited clean image, [B, ...] each.
  """
  clean, implied = predictions(output, noisy, t, shares, kind)
  clean = limit(clean)
  shares = jnp.asarray(shares)
  here, before = shares[t], t - stride
  there = jnp.where(before < 0, 1.0, shares[jnp.maximum(before, 0)])
  variance = (1 - there) / (1 - here) * (1 - here / there)
  spread = eta * jnp.sqrt(variance)
  direction = jnp.sqrt(1 - there - spread**2) * implied
  result = jnp.sqrt(there) * clean + direction
  return result if noise is None else result + spread * noise, clean


def clip(clean, bound=1.0):
  """Cuts images off at +-`bound`, in standard deviations; inf lifts it."""
  return jnp.clip(clean, -bound, bound)


def dynamic_threshold(clean, ceiling=1.0, quantile=0.995):
  """Cuts each image off where few values are, and scales it into [-1, 1].

  The cut is the `quantile` of the absolute values, but at least 1 and at most
  `ceiling`; with `ceiling` 1, the tokenizers' setting, this is `clip`.
  Source: Saharia et al. 2022, arXiv:2205.11487, Sec. 2.3.
  """
  flat = jnp.abs(clean).reshape(clean.shape[0], -1)
  bound = jnp.clip(jnp.quantile(flat, quantile, axis=1), 1.0, ceiling)
  bound = bound.reshape(-1, *(1,) * (clean.ndim - 1))
  return jnp.clip(clean, -bound, bound) / bound


def _roots(t, shares, ndim):
  """sqrt(a_t), sqrt(1 - a_t), shaped to go with [B, ...] of `ndim` axes."""
  here = jnp.asarray(shares)[jnp.asarray(t)]
  here = here.reshape(*here.shape, *(1,) * (ndim - 1)) if here.ndim else here
  return jnp.sqrt(here), jnp.sqrt(1 - here)


def _linspace(first, last):
  """[1000] float32, from both ends, as PyTorch counts it."""
  first, last = np.float32(first), np.float32(last)
  step = np.float64((last - first) / np.float32(NUM_LEVELS - 1))
  up = np.arange(NUM_LEVELS)
  rising, falling = first + step * up, last - step * up[::-1]
  return np.where(up < NUM_LEVELS // 2, rising, falling).astype(np.float32)


def _cosine_betas():
  """Nichol and Dhariwal 2021, arXiv:2102.09672, Eq. (17)."""
  edges = np.arange(NUM_LEVELS + 1) / NUM_LEVELS
  shares = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
  return np.minimum(1 - shares[1:] / shares[:-1], _MAX_COSINE_BETA).astype(
    np.float32
  )


def _shifted_cosine(factor):
  """Hoogeboom et al. 2023, arXiv:2301.11093, Sec. 3.1."""
  if not 0 < factor < np.inf:
    raise ValueError(f'shifted_cosine:{factor} needs a factor above 0.')
  inner = np.linspace(0, 1, NUM_LEVELS)[1:-1]
  log_snr = np.full(NUM_LEVELS, _MAX_LOG_SNR)
  log_snr[1:-1] = -2 * (np.log(np.tan(np.pi * inner / 2)) + np.log(factor))
  shares = 1 / (1 + np.exp(-np.clip(log_snr, -_MAX_LOG_SNR, _MAX_LOG_SNR)))
  shares[-1] = 0
  return shares.astype(np.float32)


def _without_terminal_signal(shares):
  """Lin et al. 2024, Algorithm 1, in float32 and through its ratios."""
  roots = np.sqrt(shares)
  roots = (roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))
  stretched = roots**2
  return _cumulated(
    np.concatenate([stretched[:1], stretched[1:] / stretched[:-1]])
  )


def _cumulated(factors):
  """Running product, in float64 and rounded."""
  return np.cumprod(factors.astype(np.float64)).astype(np.float32)
