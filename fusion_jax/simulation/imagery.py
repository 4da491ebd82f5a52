"""TerraMesh images of a simulated surface, as each sensor would see it.

Differs from Sen2Cor, so that an image tells the weather of its day: band B09
of L2A keeps the absorption of water vapour (as of a vertical path down and
up), some haze stays, and reflectance keeps part of the sun's height.
"""

import numpy as np

from fusion_jax import modalities
from fusion_jax.simulation import spectra, surface

_VERTICAL = 2  # Air mass, down and up.
_COARSE = {2: (4, 5, 6, 8, 10, 11), 6: (0, 9)}  # Pixels per cell: bands.
_BRIGHT_VEIL = 0.5  # Reflectance of thin cloud.
_B10 = modalities.S2L1C_BANDS.index('B10')
_BACKSCATTER = {  # Class: VV, VH in dB.
  surface.WATER: (-19, -27),
  surface.TREES: (-8.5, -14.5),
  surface.WETLAND: (-11, -19),
  surface.CROPS: (-11, -18),
  surface.TOWN: (-4, -11.5),
  surface.BARE: (-13.5, -22),
  surface.SNOW: (-13, -20.5),
  surface.RANGE: (-12, -19.5),
}


def _absorbed(scene: surface.Scene) -> np.ndarray:
  """Returns surface reflectance with the water vapour of B09 in a new array."""
  light = scene.reflectance.copy()
  light[..., spectra.B09] *= spectra.vapour_transmission(
    scene.water_mm, _VERTICAL
  )
  return light


def _sense(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Makes int16 counts with the noise of the detector and coarse pixels."""
  noise_sd = 0.008 * light
  noise_sd += 0.0015
  noise_sd *= rng.standard_normal(light.shape, np.float32)
  light += noise_sd
  for cell, bands in _COARSE.items():
    light[..., bands] = _blocks(light[..., bands], cell)
  light *= 1e4
  np.rint(light, light)
  return np.clip(light, 1, 16_000, light).astype(np.int16)


def _blocks(image: np.ndarray, cell: int) -> np.ndarray:
  """Averages cells of `cell` pixels per side, at the size of the image."""
  starts = np.arange(0, image.shape[0], cell)
  counts = np.diff([*starts, image.shape[0]])
  for axis in (0, 1):
    image = np.add.reduceat(image, starts, axis)
    shape = [1, 1, 1]
    shape[axis] = -1
    image = image / counts.astype(np.float32).reshape(shape)
  return image.repeat(counts, 0).repeat(counts, 1)


def s2l2a(scene: surface.Scene, rng: np.random.Generator) -> np.ndarray:
  """Returns int16 [Y, X, 12] surface reflectance x 10,000 with some haze.

  Args:
    scene: surface and light of the image.
    rng: generator of the noise of the detector.
  """
  light = _absorbed(scene)
  light += 0.3 * scene.air_mass * scene.haze * spectra.HAZE
  light += scene.veil[..., None] * (_BRIGHT_VEIL - light)
  return _sense(light, rng)


def s2l1c(scene: surface.Scene, rng: np.random.Generator) -> np.ndarray:
  """Returns int16 [Y, X, 13] top-of-atmosphere reflectance x 10,000.

  No offset is added, as in products before processing baseline 04.00.

  Args:
    scene: surface and light of the image.
    rng: generator of the noise of the detector.
  """
  through = np.exp(
    -scene.air_mass
    * (
      spectra.RAYLEIGH + 0.5 * scene.haze * spectra.HAZE / spectra.HAZE[0] * 0.3
    )
  )
  light = _absorbed(scene) * through.astype(np.float32)
  light += 0.5 * scene.air_mass * spectra.RAYLEIGH
  light += scene.haze * scene.air_mass * spectra.HAZE
  light += scene.veil[..., None] * (_BRIGHT_VEIL - light)
  cirrus = 0.0015 + 0.3 * scene.veil[..., None] + 0.001 * scene.snow[..., None]
  light = np.concatenate([light[..., :_B10], cirrus, light[..., _B10:]], -1)
  return _sense_l1c(light.astype(np.float32), rng)


def _sense_l1c(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  counts = _sense(np.delete(light, _B10, -1), rng)
  cirrus = _blocks(light[..., _B10 : _B10 + 1], 6) + 0.0003 * _blocks(
    rng.standard_normal((*light.shape[:2], 1), np.float32), 6
  )
  cirrus = np.clip(np.rint(cirrus * 1e4), 1, 16_000).astype(np.int16)
  return np.concatenate([counts[..., :_B10], cirrus, counts[..., _B10:]], -1)


def s2rgb(counts: np.ndarray) -> np.ndarray:
  """Returns uint8 [Y, X, 3] red, green and blue, stretched.

  Args:
    counts: int16 [Y, X, 12] of `s2l2a`.
  """
  visible = counts[..., [3, 2, 1]].astype(np.float32)
  top = max(1_000.0, float(np.percentile(visible[::4, ::4], 99)))
  return np.clip(visible * (255 / top), 0, 255).astype(np.uint8)


def ndvi(counts: np.ndarray) -> np.ndarray:
  """Returns float32 [Y, X, 1]: (B08 - B04) / (B08 + B04).

  Args:
    counts: int16 [Y, X, 12] of `s2l2a`.
  """
  red = counts[..., 3:4].astype(np.float32)
  near = counts[..., 7:8].astype(np.float32)
  return (near - red) / (near + red)


def lulc(scene: surface.Scene) -> np.ndarray:
  """Returns uint8 [Y, X, 1] land cover, or snow where snow hides it."""
  classes = np.where(scene.snow > 0.5, surface.SNOW, scene.cover)
  return classes[..., None].astype(np.uint8)


def dem(scene: surface.Scene) -> np.ndarray:
  """Returns int16 [Y, X, 1] elevation in m."""
  return np.rint(scene.height).astype(np.int16)[..., None]


def sentinel1(
  scene: surface.Scene, rng: np.random.Generator, terrain_corrected: bool
) -> np.ndarray:
  """Returns float16 [Y, X, 2] backscatter VV and VH in dB.

  It follows roughness, moisture and snow.

  Args:
    scene: surface of the image.
    rng: generator of the speckle.
    terrain_corrected: True for RTC; GRD keeps the slopes facing the radar.
  """
  vv = np.full(10, -12.0, np.float32)
  vh = np.full(10, -19.0, np.float32)
  for name, (one, other) in _BACKSCATTER.items():
    vv[name], vh[name] = one, other
  open_ground = (scene.cover != surface.WATER) & (scene.cover != surface.TREES)
  wet = np.where(open_ground, 3.5 * scene.moisture * (1 - scene.snow), 0)
  decibel = np.stack(
    [
      vv[scene.cover] + wet + 1.0 * scene.green,
      vh[scene.cover] + 0.7 * wet + 2.5 * scene.green,
    ],
    -1,
  )
  decibel -= 1.5 * scene.snow[..., None]
  if not terrain_corrected:
    facing = -np.gradient(
      scene.height, surface.PIXEL_M, axis=1
    )  # The sensor looks east.
    decibel += np.clip(12 * facing, -6, 6)[..., None]
  speckle = rng.standard_gamma(5.0, decibel.shape, np.float32) / 5
  decibel += 10 * np.log10(speckle + 1e-3)
  return decibel.astype(np.float16)
