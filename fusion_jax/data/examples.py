"""The example on disk: its fields, and its bytes.

One record is one `tf.train.Example` (the protocol buffer; TensorFlow itself
is not used) with one feature a field. Every array is one bytes feature, C
order, little endian; its shape and type are in `features.json`. An image that
is absent has no rows, a series that is missing is all NaN. TFDS reads it with
`tfds.builder_from_directory(dir).as_data_source('train')`.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer

from fusion_jax import modalities
from fusion_jax.data import readers

IMAGE_TYPES = {
  'S2L2A': np.int16,
  'S2L1C': np.int16,
  'S2RGB': np.uint8,
  'S1GRD': np.float16,
  'S1RTC': np.float16,
  'DEM': np.int16,
  'NDVI': np.float16,
  'LULC': np.uint8,
}
SERIES = tuple(
  name for name, m in modalities.MODALITIES.items() if m.kind == 'series'
)


@dataclasses.dataclass(frozen=True)
class Schema:
  """The fields of the examples of a data set.

  Attributes:
    images: names of TerraMesh's folders; an example may lack any of them.
    width: number of pixels in a row of every image.
    series: names of the weather modalities.
  """

  images: tuple[str, ...]
  width: int
  series: tuple[str, ...] = SERIES

  def __post_init__(self) -> None:
    unknown = set(self.images) - set(IMAGE_TYPES)
    unknown |= set(self.series) - set(SERIES)
    if unknown:
      raise ValueError(
        f'There is no field {sorted(unknown)}; images are '
        f'{sorted(IMAGE_TYPES)}, series {sorted(SERIES)}.'
      )

  def features(self) -> tfds.features.FeaturesDict:
    """Shape, type and encoding of every field, for TFDS."""
    tensors: dict[str, tuple[tuple[int | None, ...], Any]] = {
      name: ((None, self.width, _channels(name)), IMAGE_TYPES[name])
      for name in self.images
    }
    for name in self.series:
      leads = modalities.MODALITIES[name].leads
      tensors[name] = ((len(leads),), np.float32)
    tensors |= {
      'lat': ((), np.float64),
      'lon': ((), np.float64),
      'time': ((), np.int64),
    }
    if 'S2L1C' in self.images:
      tensors['S2L1C_offset'] = ((), np.int16)
    return tfds.features.FeaturesDict(
      {'key': tfds.features.Text()}
      | {
        name: tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')
        for name, (shape, dtype) in tensors.items()
      }
    )


def schema_of(example: readers.Example) -> Schema:
  """The schema of a data set whose examples all have the fields of one."""
  images = tuple(name for name in IMAGE_TYPES if name in example)
  series = tuple(name for name in SERIES if name in example)
  width = max((example[name].shape[1] for name in images), default=0)
  return Schema(images, width, series)


class Codec:
  """Turns examples of one schema into records, and back.

  Attributes:
    schema: fields of the examples.
    features: shape, type and encoding of every field, for TFDS.
  """

  def __init__(self, schema: readers.Schema) -> None:
    self.schema = schema
    self.features = schema.features()
    self._shapes: dict[str, tuple[Any, Any]] = {
      name: (feature.shape, feature.np_dtype)
      for name, feature in self.features.items()
      if name != 'key'
    }
    specs: Any = self.features.get_serialized_info()
    self._serializer = example_serializer.ExampleSerializer(specs)

  def complete(self, example: readers.Example) -> dict[str, Any]:
    """The example with every field, in the type and shape of the record.

    Absent images get no rows, missing series NaN, and integers are never made
    from fractions.

    Raises:
      ValueError: if the schema lacks a field, or a shape or type is wrong; the
        message names example and field.
    """
    extra = set(example) - set(self._shapes) - {'key'}
    if extra:
      raise ValueError(
        f'Example {example["key"]!r} has the fields '
        f'{sorted(extra)}, which {self.schema} lacks.'
      )
    return {'key': str(example['key'])} | {
      name: self._field(name, shape, dtype, example)
      for name, (shape, dtype) in self._shapes.items()
    }

  def _field(
    self,
    name: str,
    shape: tuple[int | None, ...],
    dtype: Any,
    example: readers.Example,
  ) -> np.ndarray:
    """One array of `example`, checked; the stand-in where there is none."""
    value = (
      np.asarray(example[name])
      if name in example
      else _stand_in(name, shape, dtype)
    )
    if name in self.schema.images and not value.size:
      value = _stand_in(name, shape, dtype)  # Also from [0, 0, C].
    fits = value.ndim == len(shape) and all(
      stored in (None, size) for stored, size in zip(shape, value.shape)
    )
    if not fits or not (
      np.can_cast(value.dtype, dtype, 'same_kind')
      or value.dtype.kind == np.dtype(dtype).kind
    ):
      raise ValueError(
        f'Field {name} of example {example["key"]!r} is {value.dtype} '
        f'{value.shape}; stored is {np.dtype(dtype)} {shape}.'
      )
    return value.astype(dtype)

  def encode(self, example: readers.Example) -> bytes:
    """The record of a complete example, the same bytes in every process."""
    message = self._serializer.get_tf_example(
      self.features.encode_example(example)
    )
    return message.SerializeToString(deterministic=True)

  def decode(self, record: bytes) -> dict[str, Any]:
    """The example of a record, read by TFDS."""
    example: Any = self.features.deserialize_example_np(record)
    return example | {'key': example['key'].decode()}


def _channels(name: str) -> int:
  return len(modalities.IMAGE_FIELDS[name].bands)


def _stand_in(
  name: str, shape: tuple[int | None, ...], dtype: Any
) -> np.ndarray:
  """Returns the value that is stored for a missing field.

  Raises:
    ValueError: if the field is place or time, which every example has.
  """
  if name in ('lat', 'lon', 'time'):
    raise ValueError(
      f'An example has no {name}; every one needs place and time.'
    )
  missing = np.nan if name in SERIES else 0
  return np.full([size or 0 for size in shape], missing, dtype)
