"""The encoder of a converted file alone, on images in the sensor's unit."""

import dataclasses

import jax
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.models import encoder

_PLACE = ('lat', 'lon')


def make_encoder(config):
  """The `Encoder` that a configuration with task 'encoder' describes."""
  selected = modality_table.select(config.modalities, config.image_size)
  selected = tuple(
    dataclasses.replace(m, vocab_size=config.coords_vocab_size)
    if m.kind == 'text'
    else m
    for m in selected
  )
  return encoder.Encoder(
    selected, image_size=config.image_size, merge=config.merge, **config.model
  )


class EncoderModel:
  """Features of images, codes and places, as downstream models read them.

  Attributes:
    config: of the conversion.
    params: of the encoder.
    modalities: that it knows, sorted by name.
    image_size: pixels a side that its positions were made for; others get
      them resized.
    encoder: the model.
    tokenizer: of coordinates.
  """

  def __init__(self, config, params, tokenizer, model=None):
    """Args: as the attributes; model: by default that of the config."""
    self.config = config
    self.params = jax.device_put(params)
    self.encoder = make_encoder(config) if model is None else model
    self.modalities = self.encoder.modalities
    self.image_size = config.image_size
    self.tokenizer = tokenizer
    self._apply = jax.jit(
      lambda params, inputs: self.encoder.apply({'params': params}, inputs)
    )

  def encode(self, inputs, *, every_layer=False):
    """Features of one place or, with one more leading axis, of B places.

    Args:
      inputs: {name: array}: raw images ('S2L2A', ...) [B, Y, X, C] in the
        sensor's unit, of any size that 16 divides, NaN = missing; codes
        ('LULC', 'NDVI', 'tok_...') int [B, Y / 16, X / 16]; 'lat' and 'lon'
        [B] degrees.
      every_layer: whether to return the output of every layer.

    Returns:
      [B, N, D] normalised features, merged over the image modalities as
      `config.merge` says (see `models.encoder`); without B for one place.
      With `every_layer` a list, the last of which these are.

    Raises:
      ValueError: for an input that the model does not know, or of a wrong
        shape.
    """
    arrays = dict(
      self._prepare(name, values)
      for name, values in inputs.items()
      if name not in _PLACE
    )
    if set(_PLACE) <= set(inputs):
      self._find('coords')
      arrays['coords'] = self.tokenizer.encode(
        *(np.asarray(inputs[name], np.float64) for name in _PLACE)
      )
    single = all(x.ndim == self._rank(name) for name, x in arrays.items())
    arrays = {
      name: x[None] if x.ndim == self._rank(name) else x
      for name, x in arrays.items()
    }
    if not arrays or len({len(x) for x in arrays.values()}) > 1:
      counts = {name: len(x) for name, x in arrays.items()}
      raise ValueError(
        'Give at least one input, all of the same number of '
        f'places; got {counts}.'
      )
    layers = self._apply(self.params, arrays)
    layers = layers if every_layer else layers[-1:]
    layers = jax.tree.map(
      lambda x: np.asarray(x[0] if single else x, np.float32), layers
    )
    return layers if every_layer else layers[0]

  def with_bands(self, name, bands):
    """The same model for images that have only some of the bands.

    Args:
      name: of a raw modality.
      bands: names, some of the modality's, in the order of the images.

    Returns:
      `EncoderModel` that takes [B, Y, X, len(bands)].

    Raises:
      ValueError: for a band that the modality does not have.

    Source: terrastackai/terratorch: the columns of the named bands.
    """
    modality = self._find(name)
    unknown = sorted(set(bands) - set(modality.bands))
    if unknown or not bands or modality.kind != 'image':
      raise ValueError(
        f'{modality.name} has the bands {modality.bands}, not '
        f'{unknown or bands}.'
      )
    chosen = [modality.bands.index(band) for band in bands]
    fewer = dataclasses.replace(
      modality,
      **{
        field: tuple(getattr(modality, field)[i] for i in chosen)
        for field in ('bands', 'mean', 'std')
      },
    )
    selected = tuple(
      fewer if m.name == modality.name else m for m in self.modalities
    )
    weights = dict(self.params['encoder_embeddings'])
    kernel = weights[modality.name]
    by_band = kernel.reshape(-1, len(modality.bands), kernel.shape[-1])
    weights[modality.name] = by_band[:, np.array(chosen)].reshape(
      -1, kernel.shape[-1]
    )
    return EncoderModel(
      self.config,
      {**self.params, 'encoder_embeddings': weights},
      self.tokenizer,
      self.encoder.clone(modalities=selected),
    )

  def _find(self, name):
    known = {m.name: m for m in self.modalities}
    found = modality_table.get(name).name
    if found not in known:
      raise ValueError(
        f'The encoder cannot see {name!r}; it can see {sorted(known)}.'
      )
    return known[found]

  def _rank(self, name):
    return {'image': 3, 'tokens': 2}.get(self._find(name).kind, 1)

  def _prepare(self, name, values):
    modality = self._find(name)
    values = np.asarray(values)
    if modality.kind == 'tokens':
      check_codes(modality, values)
      return modality.name, values.astype(np.int32)
    patch = modality_table.PATCH
    if (
      values.ndim not in (3, 4)
      or values.shape[-1] != len(modality.bands)
      or values.shape[-3] % patch
      or values.shape[-2] % patch
    ):
      raise ValueError(
        f'{modality.name} is {values.shape}; wanted is [rows, columns, '
        f'{len(modality.bands)}] or a batch of it, rows and columns '
        f'multiples of {patch}, with the bands {", ".join(modality.bands)}.'
      )
    values = (values - np.asarray(modality.mean, np.float32)) / np.asarray(
      modality.std, np.float32
    )
    values = np.where(np.isfinite(values), values, 0)
    return modality.name, values.astype(np.float32)


def check_codes(modality, codes):
  """Raises a ValueError unless these are ids of the modality's tokenizer."""
  if codes.dtype.kind not in 'iu' or codes.ndim not in (2, 3):
    raise ValueError(
      f'{modality.name} is {codes.dtype} {codes.shape}; wanted are integer '
      'codes [rows, columns] of its tokenizer, or a batch of them.'
    )
  if codes.size and not 0 <= codes.min() <= codes.max() < modality.vocab_size:
    raise ValueError(
      f'{modality.name} has codes {codes.min()}..{codes.max()}, but its '
      f'vocabulary is 0..{modality.vocab_size - 1}.'
    )
