"""A trained or converted pixel encoder, ready to use."""

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.data import pixels as pixels_lib
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
    """Args: as the attributes; statistics: of the training data."""
    self.config = config
    self.params = jax.device_put(params)
    self.encoder = pixel_encoder.make(config.model)
    self.classes = ()
    if 'classifier' in params:
      self.classes = pixels_lib.class_names(statistics, config.label)
    self.scale = (float(np.exp(params['log_scale']))
                  if 'log_scale' in params else None)
    self._scale = pixels_lib.Scale(
        config.scaling, tuple(config.missing_bands))
    self._embed = jax.jit(self._vectors, static_argnames='setting')
    self._head = jax.jit(lambda params, vectors: jax.nn.softmax(
        post_norm.Linear(len(self.classes)).apply(
            {'params': params}, vectors)))

  def encode(self, pixels, valid=None, *, days=None, setting='monthly',
             normalize=True, batch_size=128):
    """Vectors of places.

    Args:
      pixels: [P, T, C, k, k], or [T, C, k, k] for one place: reflectance x
        10,000 of the bands B2 .. B12 in order, NaN = missing; or an
        `xarray.DataArray` with the axes 'time', 'band', 'y', 'x' in any order.
        Time steps are the 12 months, 4 quarters or a single composite.
      valid: bool [P, T], False where a time step is missing. None: those with
        at least half of their values are there.
      days: [T] or [P, T], days of the year (1 = January 1) of other time
        steps than months, however many.
      setting: 'monthly', or 'quarterly' or 'single' to make these of months.
      normalize: whether to bring vectors to length 1.
      batch_size: places at a time; 64 to 256 are fastest on CPU.

    Returns:
      [P, E] float32, or [E] for one place.

    Raises:
      ValueError: for other bands or pixels, or reflectance on another scale.
    """
    pixels = _plain(pixels)
    single = pixels.ndim == 4
    pixels = pixels[None] if single else pixels
    if pixels.ndim != 5 or len(pixels) < 1:
      raise ValueError(
          f'pixels is {pixels.shape}; wanted is [places, time steps, bands, '
          'rows, columns] or that of one place.')
    valid = np.ones(pixels.shape[:2], bool) if valid is None else (
        np.broadcast_to(np.asarray(valid, bool), pixels.shape[:2]))
    months = None if days is None else np.broadcast_to(
        calendar.months_of_days(days), pixels.shape[:2])
    rows = []
    for start in range(0, len(pixels), batch_size):
      part = slice(start, start + batch_size)
      rows.append(self._batch(
          pixels[part], valid[part], months if months is None
          else months[part], setting, min(batch_size, len(pixels))))
    vectors = np.concatenate([
        np.asarray(row, np.float32) for row in rows])[:len(pixels)]
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
          'prompts, or load a run of configs/align_pixels.py:supervised=...')
    options = {'setting': self.config.setting} | options
    vectors = self.encode(pixels, valid, normalize=False, **options)
    return np.asarray(self._head(
        self.params['classifier'], vectors.reshape(-1, vectors.shape[-1])
    )).reshape(*vectors.shape[:-1], -1)

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
      raise ValueError('This model knows no photos; load a run of '
                       'configs/align_pixels.py.')
    views = jnp.asarray(views, jnp.float32)
    there = jnp.isfinite(views).all(axis=-1)
    found = pooling.ViewPool(**self.config.pool).apply(
        {'params': self.params.get('pool', {})}, views, there)
    return np.asarray(contrastive.normalise(found) if normalize else found)

  def _batch(self, pixels, valid, months, setting, size):
    """Vectors of one batch, filled up to `size` places."""
    arrays = [*self._scale.prepare(pixels, valid, 'pixels'), months]
    lacking = size - len(pixels)
    arrays = [x if x is None else np.pad(
        x, [(0, lacking)] + [(0, 0)] * (x.ndim - 1)) for x in arrays]
    return self._embed(self.params['encoder'], *arrays, setting=setting)

  def _vectors(self, params, pixels, keep, months, setting):
    if setting != 'monthly':
      pixels, keep = calendar.summarise(pixels, keep, setting)
    return self.encoder.apply(
        {'params': params}, pixels, keep, months=months)


def _plain(pixels):
  """A NumPy array, its axes in our order."""
  if hasattr(pixels, 'dims'):
    missing = [axis for axis in _AXES if axis not in pixels.dims]
    if missing:
      raise ValueError(f'The pixels have the axes {pixels.dims}, not {missing};'
                       ' rename them.')
    pixels = pixels.transpose(..., *_AXES)
  return np.asarray(pixels, np.float32)
