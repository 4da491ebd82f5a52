"""Classifies and embeds years of pixels, on all devices."""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import validation as validation_lib
from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, zero_shot
from fusion_jax.train import sharding
from fusion_jax.types import Array

# CLIP's factor of cosines, for encoders that learned none.
DEFAULT_SCALE = 100.0
# Pixels of a device at a time: small batches stay in the caches of a CPU.
_BATCH = {'cpu': 128}
_BATCH_ELSEWHERE = 4096
_LARGEST = 127  # Largest value of int8.


@dataclasses.dataclass(frozen=True)
class Classes:
  """The classes of a map.

  Attributes:
    names: names of the C classes.
    vectors: [C, E] vectors of prompts, of length 1; None for the model's own
      classifier.
    temperature: temperature of the softmax, see calibration.py.
  """

  names: tuple[str, ...]
  vectors: np.ndarray | None = None
  temperature: float = 1.0


class Classifier:
  """A pixel model with its classes, compiled for the devices.

  Attributes:
    side: number k of pixels per side that the encoder sees.
    width: width E of the vectors.
    classes: the `Classes` of the map.
    batch_size: number of pixels per call, over all devices.
    setting: 'monthly', 'quarterly' or 'single'.
    comparable_with: 'texts' if vectors lie in CLIP's space; 'each other' for a
      model with its own classifier.
    missing_bands: names of bands that the model was trained without.
    label: label that the model's own classifier was trained on, such as
      'land_cover'; '' without one.
    calibration: `calibration.Calibration` behind the temperature, or None.
    trained_on: what the model was trained on, see `inference.trained`.
    validation: how well it told these classes apart, see `validation`.
    ranges: range of its training data.
  """

  validation: str = validation_lib.NONE

  def __init__(
    self,
    model: Any,
    classes: Classes,
    *,
    setting: str = '',
    batch_size: int = 0,
    devices: Sequence[Any] | None = None,
    calibration: calibration_lib.Calibration | None = None,
  ):
    """Puts the parameters on the devices.

    Args:
      model: `pixel_model.PixelModel`.
      classes: `Classes`.
      setting: 'monthly', 'quarterly' or 'single'; '' as trained, else
        monthly.
      batch_size: pixels per device and call; 0 takes 128 on CPU and 4096 on
        other devices.
      devices: devices to use; all by default.
      calibration: `calibration.Calibration` behind the temperature.

    Raises:
      ValueError: if prompts are given to a model with a classifier, whose
        vectors do not lie in CLIP's space; or vectors have another width.
    """
    self._check(model, classes)
    self.side = model.encoder.side
    self.width = model.encoder.output_width
    self.classes = classes
    self.calibration = calibration
    self.trained_on, self.ranges = model.trained_on, model.ranges
    self.missing_bands = tuple(model.config.missing_bands)
    self.label = model.label
    self.comparable_with = 'each other' if model.classes else 'texts'
    self._mesh = sharding.make_mesh(devices=devices)
    platform = self._mesh.devices.flat[0].platform
    each = batch_size or _BATCH.get(platform, _BATCH_ELSEWHERE)
    self.batch_size = each * self._mesh.size
    self._encoder = model.encoder
    self.setting = setting or model.setting
    self._scale = pixel_transforms.Scale(
      model.config.scaling, self.missing_bands
    )
    self._factor = (
      (model.scale or DEFAULT_SCALE) if classes.vectors is not None else 1.0
    )
    self._params = jax.device_put(
      {
        'encoder': model.params['encoder'],
        'classifier': model.params['classifier'] if model.classes else {},
        'vectors': jnp.zeros(0)
        if classes.vectors is None
        else jnp.asarray(classes.vectors, jnp.float32),
      },
      sharding.replicated(self._mesh),
    )
    self._run = self._compile(self._classify)
    self._embed = self._compile(self._with_vectors)
    self._score = self._compile(lambda *args: self._scores(*args)[0])

  def _compile(self, function: Callable) -> Callable:
    """Compiles a function of parameters and a batch for all devices."""
    whole = sharding.replicated(self._mesh)
    split = sharding.batch_sharding(self._mesh)
    return jax.jit(
      function, in_shardings=(whole, split, split), out_shardings=split
    )

  def prepare(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scales pixels to the range that the encoder reads, see `Scale`.

    Args:
      pixels: [B, 12, C, k, k] reflectance x 10,000, NaN = missing.

    Returns:
      Pixels [B, 12, C, k, k] in [0, 1], and which months exist, bool [B, 12].
    """
    return self._scale.prepare(pixels, True, '')

  def run(
    self, pixels: np.ndarray, keep: np.ndarray, with_vectors: bool = False
  ) -> dict[str, jax.Array]:
    """Starts the computation of a batch, without waiting for the result.

    Args:
      pixels: [B, 12, C, k, k] as returned by `prepare`, B <= `batch_size`.
      keep: bool [B, 12], which months exist.
      with_vectors: whether the vectors are returned, too.

    Returns:
      Dict of arrays, padded to `batch_size`: 'class' int32 and 'confidence'
      float32 in [0, 1]; 'embedding' int8 [.., E] and 'scale' float32, whose
      product is the vector of length 1.
    """
    function = self._embed if with_vectors else self._run
    return function(self._params, *self._place(pixels, keep))

  def scores(self, pixels: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Returns the scores [B, C], the input of the softmax at temperature 1.

    Args:
      pixels: [B, 12, C, k, k] of `prepare`, B up to `batch_size`.
      keep: bool [B, 12] of `prepare`.
    """
    return np.asarray(self._score(self._params, *self._place(pixels, keep)))[
      : len(pixels)
    ]

  def digest(self) -> str:
    """Returns eight hexadecimal digits that change with the parameters."""
    total = 0
    for x in jax.tree.leaves(self._params):
      total = zlib.crc32(np.asarray(x).tobytes(), total)
    return f'{total:08x}'

  def _place(self, pixels, keep):
    """Fills a batch up to its full size and splits it over the devices."""
    num_missing = self.batch_size - len(pixels)
    if num_missing:
      pixels, keep = (
        np.concatenate([x, np.zeros((num_missing, *x.shape[1:]), x.dtype)])
        for x in (pixels, keep)
      )
    return sharding.place((pixels, keep), self._mesh)

  def _scores(self, params, pixels, keep):
    pixels, keep = calendar.summarise(pixels, keep, self.setting)
    vectors = self._encoder.apply(
      {'params': params['encoder']}, pixels, keep
    ).astype(jnp.float32)
    if self.classes.vectors is None:
      head = post_norm.Linear(len(self.classes.names))
      scores = head.apply({'params': params['classifier']}, vectors)
    else:
      scores = self._factor * zero_shot.scores(vectors, params['vectors'])
    return scores, vectors

  def _classify(self, params, pixels, keep):
    return self._decide(self._scores(params, pixels, keep)[0])

  def _with_vectors(self, params, pixels, keep):
    scores, vectors = self._scores(params, pixels, keep)
    return self._decide(scores) | quantise(zero_shot.unit(vectors))

  def _decide(self, scores):
    shares = jax.nn.softmax(scores / self.classes.temperature)
    return {
      'class': jnp.argmax(scores, axis=-1),
      'confidence': jnp.max(shares, axis=-1),
    }

  @staticmethod
  def _check(model: Any, classes: Classes) -> None:
    own = bool(model.classes)
    if classes.vectors is None and not own:
      raise ValueError(
        'The model has no classifier of its own: give it prompts '
        '(--prompts), of vectors or with a CLIP to read the texts (--clip).'
      )
    if classes.vectors is not None and own:
      raise ValueError(
        'The model has a classifier of its own, and its vectors are not '
        "in CLIP's space: leave out --prompts, or take a run of "
        'configs/align_pixels.py without supervised=.'
      )
    width = model.encoder.output_width
    if classes.vectors is not None and classes.vectors.shape[1] != width:
      raise ValueError(
        f'The prompts have {classes.vectors.shape[1]} dimensions, the model '
        f'has {width}; embed them with the CLIP it was trained with.'
      )


def quantise(vectors: Array) -> dict[str, jax.Array]:
  """Returns vectors [B, E] as int8 with one scale each.

  The largest value becomes 127, so errors are at most 1 / 254 of it.

  Returns:
    Dict of 'embedding' int8 [B, E] and 'scale' float32 [B].
  """
  largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
  scale = jnp.maximum(largest, jnp.finfo(jnp.float32).tiny) / _LARGEST
  return {
    'embedding': jnp.round(vectors / scale).astype(jnp.int8),
    'scale': scale[:, 0],
  }
