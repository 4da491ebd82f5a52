"""A trained or converted pixel encoder, ready to use."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.assembly import pixel_encoder as pixel_assembly
from fusion_jax.assembly import pixel_layout
from fusion_jax.data import bands as bands_lib
from fusion_jax.data import reflectance
from fusion_jax.inference import batches, trained, xarray_inputs
from fusion_jax.models import pixel_encoder
from fusion_jax.nn import post_norm
from fusion_jax.ops import calendar, contrastive
from fusion_jax.types import Array, Config, Params, Statistics


class PixelModel(trained.Trained):
  """Years of pixels to vectors of CLIP's space, or to classes.

  Attributes:
    config: configuration of the run, or of `fusion_jax.convert timesenclip`.
    params: parameters of the encoder, under 'encoder', and of what else the
      run trained.
    encoder: the pixel encoder.
    setting: time steps of the year that it was trained on: 'monthly',
      'quarterly' or 'single'.
    label: label that it classifies, such as 'land_cover'; '' if it has no
      classifier.
    classes: names of the classes that it tells apart; () if it has no
      classifier.
    scale: learned factor of cosines; None if none was learned.
  """

  config: Config
  params: Params
  encoder: pixel_encoder.PixelEncoder
  setting: str
  label: str
  classes: tuple[str, ...]
  scale: float | None

  def __init__(self, config: Config, params: Params, statistics: Statistics):
    """Builds the model.

    Args:
      config: configuration with the task 'align_pixels', 'classify_pixels' or
        'pixel_encoder', up to date.
      params: parameters, nested dict of arrays.
      statistics: statistics of the training data, with the names of classes.

    Parameters may have the layout of earlier versions.
    """
    encoder_params = pixel_layout.upgrade_params(params['encoder'])
    self.config = config
    self.params = jax.device_put({**params, 'encoder': encoder_params})
    assembly = pixel_assembly.assemble(config, statistics)
    self.encoder = assembly.encoder
    self.setting, self.label = assembly.setting, assembly.label
    self.classes = assembly.classes
    self.scale = (
      float(np.exp(params['log_scale'])) if 'log_scale' in params else None
    )
    self._pool = assembly.pool
    self._scale = assembly.scale
    self._embed = jax.jit(self._vectors, static_argnames='setting')
    self._classify = jax.jit(self._probabilities)

  def encode(
    self,
    pixels: Any,
    valid: Array | None = None,
    *,
    days: Array | None = None,
    setting: str = 'monthly',
    normalize: bool = True,
    batch_size: int = 128,
  ) -> np.ndarray:
    """Computes the vectors of places.

    Args:
      pixels: [P, T, C, k, k] reflectance x 10,000 of the bands B2 .. B12 in
        order, NaN where one is missing; [T, C, k, k] for one place. Or an
        `xarray.DataArray` with the axes 'time', 'band', 'y', 'x' in any order,
        whose bands are taken by their names and whose steps by their dates,
        where it has such coordinates. Time steps are the 12 months, 4 quarters
        or a single composite, January first.
      valid: [P, T] bool, False where a time step is missing. By default those
        exist that have at least half of their values.
      days: [T] or [P, T] days of the year (1 = January 1) of time steps that
        are no months, however many. By default those of the dates, unless
        these are of twelve different months, or of 4 steps or 1.
      setting: 'monthly' for time steps as they are, 'quarterly' or 'single' to
        make these of the twelve months.
      normalize: whether to bring the vectors to length 1.
      batch_size: number of places at a time; 64 to 256 are fastest on CPU.

    Returns:
      Vectors, [P, E] float32, or [E] for one place; NaN where no time step
      exists.

    Raises:
      ValueError: if bands or pixels are others than the model's, reflectance
        is on another scale, or time steps with days should become quarters.
    """
    pixels, valid, months = self._arrays(pixels, valid, days, setting)
    single = pixels.ndim == 4
    if single:
      pixels = pixels[None]
    self._warn_of_range(pixels, valid)
    vectors = self._in_batches(pixels, valid, months, setting, batch_size)
    if normalize:
      vectors = np.asarray(contrastive.normalise(vectors))
    return vectors[0] if single else vectors

  def predict(
    self,
    pixels: Any,
    valid: Array | None = None,
    *,
    days: Array | None = None,
    setting: str = '',
    batch_size: int = 128,
  ) -> np.ndarray:
    """Computes the probabilities of the classes.

    Args:
      pixels: reflectance x 10,000, [P, T, C, k, k] or [T, C, k, k], or an
        `xarray.DataArray`, as `encode` takes it.
      valid: [P, T] bool, False where a time step is missing; by default those
        exist that have at least half of their values.
      days: [T] or [P, T] days of the year of time steps that are no months.
      setting: 'monthly', 'quarterly' or 'single', as `encode` takes it; '' for
        the setting of the training.
      batch_size: number of places at a time.

    Returns:
      Probabilities of `classes`, [P, classes] float32, or [classes] for one
      place.

    Raises:
      ValueError: if the model has no classifier; see also `encode`.
    """
    if not self.classes:
      raise ValueError(
        'This model has no classifier; compare `encode` with the vectors of '
        'prompts, or load a run of configs/align_pixels.py:supervised=...'
      )
    vectors = self.encode(
      pixels,
      valid,
      days=days,
      setting=setting or self.setting,
      normalize=False,
      batch_size=batch_size,
    )
    probabilities = self._classify(
      self.params['classifier'], vectors.reshape(-1, vectors.shape[-1])
    )
    return np.asarray(probabilities).reshape(*vectors.shape[:-1], -1)

  def pool_views(self, views: Array, normalize: bool = True) -> np.ndarray:
    """Computes the vectors of places from CLIP's vectors of their photos.

    Args:
      views: [P, V, E] vectors of photos, not normalised; NaN where there is no
        photo.
      normalize: whether to bring the vectors to length 1.

    Returns:
      Vectors, [P, E] float32.

    Raises:
      ValueError: if the model was trained without photos.
    """
    if self._pool is None:
      raise ValueError(
        'This model knows no photos; load a run of configs/align_pixels.py.'
      )
    views = jnp.asarray(views, jnp.float32)
    exists = jnp.isfinite(views).all(axis=-1)
    vectors = self._pool.apply({'params': self.params['pool']}, views, exists)
    vectors = cast(jax.Array, vectors)
    return np.asarray(contrastive.normalise(vectors) if normalize else vectors)

  def _arrays(
    self, pixels: Any, valid: Array | None, days: Array | None, setting: str
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns pixels, valid [P, T] and months [P, T] in order, checked.

    The pixels have no axis of places if they came without. The months are None
    where the time steps are months, quarters or a single composite.
    """
    pixels, order, days_of_dates = xarray_inputs.pixels(
      pixels, self.config.missing_bands
    )
    days = days_of_dates if days is None else days
    if days is not None and setting != 'monthly':
      raise ValueError(
        f'setting={setting!r} is made of the twelve months; these time steps '
        'have days. Leave out the setting, or give monthly composites.'
      )
    shape = pixels.shape if pixels.ndim != 4 else (1, *pixels.shape)
    if len(shape) != 5 or shape[0] < 1:
      raise ValueError(
        f'pixels is {shape}; expected [places, time steps, bands, '
        'rows, columns] or that of one place.'
      )
    if valid is None:
      valid = np.ones(shape[:2], bool)
    else:
      valid = np.broadcast_to(np.asarray(valid, bool), shape[:2])[:, order]
    self._check(pixels.reshape(shape), valid)
    if days is None:
      return pixels, valid, None
    months = np.broadcast_to(calendar.months_of_days(days), shape[:2])
    return pixels, valid, months

  def _check(self, pixels: np.ndarray, valid: np.ndarray) -> None:
    """Checks that pixels [P, T, C, k, k] can be reflectance x 10,000."""
    if pixels.shape[2] != len(bands_lib.BANDS):
      return  # Said later, with the names of the bands.
    shown = np.where(valid[:, :, None, None, None], pixels, np.float32(np.nan))
    for band in self.config.missing_bands:
      shown[:, :, bands_lib.BANDS.index(band)] = np.nan
    images = np.moveaxis(shown, 2, -1)
    reflectance.check_images(images, bands_lib.BANDS, 'pixels')

  def _warn_of_range(self, pixels: np.ndarray, valid: np.ndarray) -> None:
    """Warns of places whose bands, over the year, are unlike the training."""
    if pixels.shape[2] == len(bands_lib.BANDS):
      there = np.where(valid[:, :, None, None, None], pixels, np.nan)
      means = trained.means_of(np.moveaxis(there, 2, -1), 4)
      self.ranges.warn('pixels', means, bands_lib.BANDS)

  def _in_batches(
    self,
    pixels: np.ndarray,
    valid: np.ndarray,
    months: np.ndarray | None,
    setting: str,
    batch_size: int,
  ) -> np.ndarray:
    """Returns the vectors [P, E] float32 of prepared places."""

    def prepare(rows: slice) -> tuple[Array | None, ...]:
      scaled, keep = self._scale.prepare(pixels[rows], valid[rows], 'pixels')
      return scaled, keep, None if months is None else months[rows]

    return batches.run(
      prepare,
      lambda scaled, keep, months: self._embed(
        self.params['encoder'], scaled, keep, months, setting=setting
      ),
      len(pixels),
      min(batch_size, len(pixels)),
    ).astype(np.float32)

  def _vectors(
    self,
    params: Params,
    pixels: Array,
    keep: Array,
    months: Array | None,
    setting: str,
  ) -> Array:
    """Returns the vectors [B, E] of one batch, NaN without any time step."""
    if setting != 'monthly':
      pixels, keep = calendar.summarise(pixels, keep, setting)
    vectors = self.encoder.apply(
      {'params': params}, pixels, keep, months=months
    )
    exists = keep.any(axis=1, keepdims=True)
    return jnp.where(exists, cast(jax.Array, vectors), jnp.nan)

  def _probabilities(self, params: Params, vectors: Array) -> Array:
    """Returns the probabilities [B, classes] of vectors [B, E]."""
    head = post_norm.Linear(len(self.classes))
    logits = head.apply({'params': params}, vectors)
    return jax.nn.softmax(cast(jax.Array, logits))
