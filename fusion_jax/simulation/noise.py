"""Fractal noise with one spectrum for every image size."""

import functools

import numpy as np

_REFERENCE = 512  # In pixels; longer waves are an offset of the whole image.


def _power(
  size: int, roughness: float, scale: float
) -> tuple[np.ndarray, np.ndarray]:
  ky = np.fft.fftfreq(size)[:, None]
  kx = np.fft.rfftfreq(size)[None]
  return (ky**2 + kx**2 + scale**-2.0) ** -roughness, kx


@functools.cache
def _filter(
  size: int, roughness: float, scale: float
) -> tuple[np.ndarray, np.float32]:
  """Returns amplitudes [size, size // 2 + 1] and offset of unit variance."""

  def energy(n: int) -> tuple[np.ndarray, float]:
    power, kx = _power(n, roughness, scale)
    twice = np.where((kx == 0) | (kx == 0.5), 1, 2)  # Half spectrum.
    power[0, 0] = 0
    return power, np.sum(power * twice) / n**2

  _, whole = energy(_REFERENCE)
  power, part = energy(size)
  # The real transform keeps one half of the variance of its first column.
  unpaired = np.where(np.fft.rfftfreq(size) % 0.5 == 0, np.sqrt(2), 1)
  amplitude = np.sqrt(power / whole / 2) * unpaired
  offset = np.sqrt(max(1 - part / whole, 0))
  return amplitude.astype(np.float32), np.float32(offset)


def fractal(
  rng: np.random.Generator,
  size: int,
  count: int,
  roughness: float,
  scale: float,
) -> np.ndarray:
  """Draws random fields that are smooth where `roughness` is high.

  Args:
    rng: generator of the fields.
    size: pixels per side.
    count: number of independent fields.
    roughness: exponent of the power spectrum over k^2; 1.2 is ragged, 2.2 is
      like terrain.
    scale: wavelength in pixels above which the spectrum is flat.

  Returns:
    float32 [count, size, size] of about unit variance over a large area; a
    small image sees less of it around an offset of its own.
  """
  amplitude, offset = _filter(size, roughness, scale)
  parts = rng.standard_normal((2, count, *amplitude.shape), np.float32)
  waves = np.empty(parts.shape[1:], np.complex64)
  waves.real, waves.imag = parts * amplitude
  fields = np.fft.irfft2(waves, (size, size)) * np.float32(size)
  means = offset * rng.standard_normal((count, 1, 1), np.float32)
  return fields + means
