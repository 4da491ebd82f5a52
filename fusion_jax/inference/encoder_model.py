"""The encoder of a converted file alone, on images in the sensor's unit."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from fusion_jax import modalities as modality_table
from fusion_jax.assembly import encoder as encoder_assembly
from fusion_jax.inference import batches, trained, xarray_inputs
from fusion_jax.models import coordinate_tokenizer
from fusion_jax.models.encoder import Encoder
from fusion_jax.types import Array, Config, Params

PLACE = ('lat', 'lon')  # Inputs that together give the modality 'coords'.
# Axes of one place's array, by kind of modality.
NUM_AXES = {'image': 3, 'tokens': 2, 'series': 1, 'text': 1}


class EncoderModel(trained.Trained):
  """Features of images, codes and places, as downstream models read them.

  Attributes:
    config: configuration that `fusion_jax.convert` wrote.
    params: parameters of the encoder.
    modalities: modalities that it knows, sorted by name.
    image_size: pixels per side that its positions were made for; for other
      images they are resized.
    encoder: the model.
    tokenizer: tokenizer of coordinates.
  """

  config: Config
  params: Params
  modalities: tuple[modality_table.Modality, ...]
  image_size: int
  encoder: Encoder
  tokenizer: coordinate_tokenizer.CoordinateTokenizer

  def __init__(
    self,
    config: Config,
    params: Params,
    tokenizer: coordinate_tokenizer.CoordinateTokenizer,
    model: Encoder | None = None,
  ):
    """Builds the model.

    Args:
      config: configuration with the task 'encoder', up to date.
      params: parameters of the encoder.
      tokenizer: tokenizer of coordinates.
      model: the encoder; None for the one that the configuration describes.
    """
    self.config = config
    self.params = jax.device_put(params)
    self.encoder = (
      encoder_assembly.make_model(config) if model is None else model
    )
    self.modalities = self.encoder.modalities
    self.image_size = config.image_size
    self.tokenizer = tokenizer
    self._apply = jax.jit(
      lambda params, inputs: self.encoder.apply({'params': params}, inputs)
    )

  def encode(
    self,
    inputs: Mapping[str, Array],
    *,
    every_layer: bool = False,
    batch_size: int = 64,
  ) -> np.ndarray | list[np.ndarray]:
    """Computes features of one place or, with one more leading axis, of B.

    Args:
      inputs: arrays by name: raw images ('S2L2A', ...) [B, Y, X, C] in the
        sensor's unit, of any size that 16 divides, NaN where a value is
        missing, or xarray objects, whose bands are taken by name; codes
        ('LULC', 'NDVI', 'tok_...') int [B, Y / 16, X / 16];
        'lat' and 'lon' [B] in degrees.
      every_layer: whether to return the output of every layer.
      batch_size: number of places at a time.

    Returns:
      Normalised features, [B, N, D] float32, merged over the image modalities
      as `config.merge` says (see `models.encoder`); without B for one place.
      With `every_layer` a list of them, one per layer, the last of which are
      the features.

    Raises:
      ValueError: if the model does not know an input, or it has a wrong shape.
    """
    arrays, single = self._arrays(inputs)
    num_places = len(next(iter(arrays.values())))

    def apply(arrays: Mapping[str, Array]) -> list[Array]:
      layers = self._apply(self.params, arrays)
      return layers if every_layer else layers[-1:]

    layers = batches.run(
      lambda rows: ({name: x[rows] for name, x in arrays.items()},),
      apply,
      num_places,
      min(batch_size, num_places),
    )
    layers = [np.asarray(x[0] if single else x, np.float32) for x in layers]
    return layers if every_layer else layers[0]

  def with_bands(self, name: str, bands: Sequence[str]) -> 'EncoderModel':
    """Returns the same model for images that have only some of the bands.

    Args:
      name: name of a modality of raw images.
      bands: names of some of its bands, in the order of the images.

    Returns:
      Model that takes images [B, Y, X, len(bands)] of this modality.

    Raises:
      ValueError: if the modality does not have one of the bands.

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
      bands=tuple(modality.bands[i] for i in chosen),
      mean=tuple(modality.mean[i] for i in chosen),
      std=tuple(modality.std[i] for i in chosen),
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
    model = EncoderModel(
      self.config,
      {**self.params, 'encoder_embeddings': weights},
      self.tokenizer,
      self.encoder.clone(modalities=selected),
    )
    model.trained_on = self.trained_on
    return model

  def _arrays(
    self, inputs: Mapping[str, Array]
  ) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the encoder's inputs [B, ...], and whether B was left out."""
    arrays = dict(
      self._prepare(name, values)
      for name, values in inputs.items()
      if name not in PLACE
    )
    if set(PLACE) <= set(inputs):
      self._find('coords')
      arrays['coords'] = self.tokenizer.encode(
        *(np.asarray(inputs[name], np.float64) for name in PLACE)
      )
    ranks = {name: NUM_AXES[self._find(name).kind] for name in arrays}
    single = all(x.ndim == ranks[name] for name, x in arrays.items())
    arrays = {
      name: x[None] if x.ndim == ranks[name] else x
      for name, x in arrays.items()
    }
    counts = {name: len(x) for name, x in arrays.items()}
    if len(set(counts.values())) != 1:
      raise ValueError(
        'Give at least one input, all of the same number of '
        f'places; got {counts}.'
      )
    return arrays, single

  def _find(self, name: str) -> modality_table.Modality:
    """Returns a modality of the encoder by its name or friendly name."""
    known = {m.name: m for m in self.modalities}
    full_name = modality_table.get(name).name
    if full_name not in known:
      raise ValueError(
        f'The encoder cannot see {name!r}; it can see {sorted(known)}.'
      )
    return known[full_name]

  def _prepare(self, name: str, values: Array) -> tuple[str, np.ndarray]:
    """Returns the full name of an input, and its array as the encoder reads it.

    Images are standardised, and 0 where a value is missing.
    """
    modality = self._find(name)
    if modality.kind == 'image':
      values = xarray_inputs.image(values, modality)
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
        f'{modality.name} is {values.shape}; expected [rows, columns, '
        f'{len(modality.bands)}] or a batch of it, rows and columns '
        f'multiples of {patch}, with the bands {", ".join(modality.bands)}.'
      )
    values = (values - np.asarray(modality.mean, np.float32)) / np.asarray(
      modality.std, np.float32
    )
    values = np.where(np.isfinite(values), values, 0)
    return modality.name, values.astype(np.float32)


def check_codes(modality: modality_table.Modality, codes: np.ndarray) -> None:
  """Raises a ValueError unless these are codes of the modality's tokenizer.

  Args:
    modality: modality of kind 'tokens'.
    codes: [Y / 16, X / 16] or [B, Y / 16, X / 16] codes to check.
  """
  if codes.dtype.kind not in 'iu' or codes.ndim not in (2, 3):
    raise ValueError(
      f'{modality.name} is {codes.dtype} {codes.shape}; expected integer '
      'codes [rows, columns] of its tokenizer, or a batch of them.'
    )
  if codes.size and not 0 <= codes.min() <= codes.max() < modality.vocab_size:
    raise ValueError(
      f'{modality.name} has codes {codes.min()}..{codes.max()}, but its '
      f'vocabulary is 0..{modality.vocab_size - 1}.'
    )
