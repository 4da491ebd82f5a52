"""A trained or converted pixel encoder, ready to use."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.mapping import bands
from fusion_jax.models import pixel_encoder
from fusion_jax.nn import pooling, post_norm
from fusion_jax.ops import calendar, contrastive

_AXES = ('time', 'band', 'y', 'x')  # Of a place, as xarray names them here.


class PixelModel:
  """Years of pixels to vectors of CLIP's space, or to classes.

  Attributes:
    config: of the run, or of `fusion_jax.convert timesenclip`.
    params: 'encoder', and what else the run trained.
    encoder: `PixelEncoder`.
    classes: names, of a supervised classifier; () of others.
    scale: learned factor of cosines; None if there is none.
  """

  def __init__(self, config, params, statistics):
    """Args: as the attributes; statistics: of the training data.

    Raises:
      ValueError: if the parameters lie in a layout of earlier versions.
    """
    if config.model.depth > 1 and 'first' not in params['encoder']:
      raise ValueError(
        f'{config.get("name", "The run")} was saved when the first layer was '
        'not stored apart; convert its weights again, or train it again.'
      )
    self.config = config
    self.params = jax.device_put(params)
    self.encoder = pixel_encoder.make(config.model)
    self.classes = ()
    if 'classifier' in params:
      self.classes = pixel_transforms.class_names(statistics, config.label)
    self.scale = (
      float(np.exp(params['log_scale'])) if 'log_scale' in params else None
    )
    self._scale = pixel_transforms.Scale(
      config.scaling, tuple(config.missing_bands)
    )
    self._embed = jax.jit(self._vectors, static_argnames='setting')
    self._head = jax.jit(
      lambda params, vectors: jax.nn.softmax(
        post_norm.Linear(len(self.classes)).apply({'params': params}, vectors)
      )
    )

  def encode(
    self,
    pixels,
    valid=None,
    *,
    days=None,
    setting='monthly',
    normalize=True,
    batch_size=128,
  ):
    """Vectors of places.

    Args:
      pixels: [P, T, C, k, k], or [T, C, k, k] for one place: reflectance x
        10,000 of the bands B2 .. B12 in order, NaN = missing; or an
        `xarray.DataArray` with the axes 'time', 'band', 'y', 'x' in any order,
        whose bands are taken by their names and whose steps by their dates,
        where it has such coordinates. Time steps are the 12 months, 4 quarters
        or a single composite, January first.
      valid: bool [P, T], False where a time step is missing. None: those with
        at least half of their values are there.
      days: [T] or [P, T], days of the year (1 = January 1) of other time
        steps than months, however many. None: those of the dates, unless
        these are of twelve different months, or of 4 steps or 1.
      setting: 'monthly', or 'quarterly' or 'single' to make these of months.
      normalize: whether to bring vectors to length 1.
      batch_size: places at a time; 64 to 256 are fastest on CPU.

    Returns:
      [P, E] float32, or [E] for one place; NaN where no time step is there.

    Raises:
      ValueError: for other bands or pixels, or reflectance on another scale;
        for another setting of steps with days.
    """
    pixels, order, dated = _plain(pixels, self.config.missing_bands)
    days = dated if days is None else days
    if days is not None and setting != 'monthly':
      raise ValueError(
        f'setting={setting!r} is made of the twelve months; these time steps '
        'have days. Leave out the setting, or give monthly composites.'
      )
    single = pixels.ndim == 4
    pixels = pixels[None] if single else pixels
    if pixels.ndim != 5 or len(pixels) < 1:
      raise ValueError(
        f'pixels is {pixels.shape}; wanted is [places, time steps, bands, '
        'rows, columns] or that of one place.'
      )
    valid = (
      np.ones(pixels.shape[:2], bool)
      if valid is None
      else (
        np.broadcast_to(np.asarray(valid, bool), pixels.shape[:2])[:, order]
      )
    )
    months = (
      None
      if days is None
      else np.broadcast_to(calendar.months_of_days(days), pixels.shape[:2])
    )
    rows = []
    for start in range(0, len(pixels), batch_size):
      part = slice(start, start + batch_size)
      rows.append(
        self._batch(
          pixels[part],
          valid[part],
          months if months is None else months[part],
          setting,
          min(batch_size, len(pixels)),
        )
      )
    vectors = np.concatenate([np.asarray(row, np.float32) for row in rows])[
      : len(pixels)
    ]
    if normalize:
      vectors = np.asarray(contrastive.normalise(vectors))
    return vectors[0] if single else vectors

  def predict(self, pixels, valid=None, **options):
    """Probabilities of `classes`, [P, classes]; arguments as of `encode`.

    Raises:
      ValueError: if the model has no classifier.
    """
    if not self.classes:
      raise ValueError(
        'This model has no classifier; compare `encode` with the vectors of '
        'prompts, or load a run of configs/align_pixels.py:supervised=...'
      )
    options = {'setting': self.config.setting} | options
    vectors = self.encode(pixels, valid, normalize=False, **options)
    return np.asarray(
      self._head(
        self.params['classifier'], vectors.reshape(-1, vectors.shape[-1])
      )
    ).reshape(*vectors.shape[:-1], -1)

  def pool_views(self, views, normalize=True):
    """Vectors of places from CLIP's vectors of their photos.

    Args:
      views: [P, V, E], not normalised; NaN where there is no photo.
      normalize: as of `encode`.

    Returns:
      [P, E] float32.

    Raises:
      ValueError: if the model was trained without photos.
    """
    if 'pool' not in self.config:
      raise ValueError(
        'This model knows no photos; load a run of configs/align_pixels.py.'
      )
    views = jnp.asarray(views, jnp.float32)
    there = jnp.isfinite(views).all(axis=-1)
    found = pooling.ViewPool(**self.config.pool).apply(
      {'params': self.params.get('pool', {})}, views, there
    )
    return np.asarray(contrastive.normalise(found) if normalize else found)

  def _batch(self, pixels, valid, months, setting, size):
    """Vectors of one batch, filled up to `size` places."""
    arrays = [*self._scale.prepare(pixels, valid, 'pixels'), months]
    lacking = size - len(pixels)
    arrays = [
      x if x is None else np.pad(x, [(0, lacking)] + [(0, 0)] * (x.ndim - 1))
      for x in arrays
    ]
    return self._embed(self.params['encoder'], *arrays, setting=setting)

  def _vectors(self, params, pixels, keep, months, setting):
    if setting != 'monthly':
      pixels, keep = calendar.summarise(pixels, keep, setting)
    vectors = self.encoder.apply(
      {'params': params}, pixels, keep, months=months
    )
    return jnp.where(keep.any(axis=1, keepdims=True), vectors, jnp.nan)


def _plain(pixels, missing):
  """A NumPy array in our order, the order of its steps, and their days.

  Args:
    pixels: array, or `xarray.DataArray`.
    missing: names of bands that the model was trained without.

  Returns:
    (float32 [..., T, C, Y, X], int [T] or a slice, float [T] or None.)
  """
  if not hasattr(pixels, 'dims'):
    return np.asarray(pixels, np.float32), slice(None), None
  lacking = [axis for axis in _AXES if axis not in pixels.dims]
  if lacking:
    raise ValueError(
      f'The pixels have the axes {pixels.dims}, not {lacking}; rename them.'
    )
  pixels = _by_name(pixels.transpose(..., *_AXES), missing)
  order, days = _by_date(pixels)
  return np.asarray(pixels, np.float32)[..., order, :, :, :], order, days


def _by_name(pixels, missing):
  """A `DataArray` with the bands in order, where they have names."""
  names = pixels.band.values if 'band' in pixels.coords else np.zeros(0)
  if names.dtype.kind not in 'UO':
    return pixels
  found = [bands.find(name) for name in names]
  lacking = [
    band for band in bands.BANDS if band not in found and band not in missing
  ]
  if lacking:
    raise ValueError(
      f'pixels lacks the bands {", ".join(lacking)}; it has '
      f'{", ".join(map(str, names))}. Put NaN in the place of what the sensor'
      ' does not have, as pixels.reindex(band=[...]) does.'
    )
  pixels = pixels.assign_coords(band=found)
  return pixels.isel(band=np.flatnonzero(found)).reindex(band=[*bands.BANDS])


def _by_date(pixels):
  """The order of the time steps, and their days of the year if they count."""
  dates = pixels.time.values if 'time' in pixels.coords else np.zeros(0)
  if dates.dtype.kind != 'M':
    return slice(None), None
  months = dates.astype('datetime64[M]').astype(int) % calendar.MONTHS
  if sorted(months) == [*range(calendar.MONTHS)]:
    return np.argsort(months), None
  if len(dates) in (4, 1):  # Quarters, or the year.
    return slice(None), None
  return slice(None), 1 + (
    dates - dates.astype('datetime64[Y]')
  ) / np.timedelta64(1, 'D')
