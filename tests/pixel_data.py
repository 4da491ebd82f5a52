"""A small data set of pixels, photos' vectors and labels, as prepared ones."""

import json

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from fusion_jax.data import labels, prompt_files, prompts
from fusion_jax.data.transforms import pixels as pixel_transforms

WIDTH = 16  # Of the vectors.
_CLASSES = labels.classes('land_cover')


def example(split, i, side=3):
  """Example `i`: a class has its spectrum, its season and its vector."""
  rng = np.random.default_rng([len(split), i])
  label = int(rng.integers(len(_CLASSES)))
  season = np.cos(np.arange(12) * np.pi / 6 + label)[:, None, None, None]
  kind = np.random.default_rng(label).uniform(0.2, 0.8, (10, 1, 1))
  share = kind * (1 + 0.2 * season) + rng.normal(0, 0.02, (12, 10, side, side))
  views = _concepts()[label] + rng.normal(0, 0.1, (4, WIDTH))
  if i % 5 == 0:
    views[1] = np.nan
  return {
    'key': f'Lucas_Point_{split}{i}',
    'lat': np.float64(50 + i),
    'lon': np.float64(5),
    'views': views.astype(np.float32),
    'pixels': (
      pixel_transforms.LOW[:, None, None]
      + share * pixel_transforms.HIGH[:, None, None]
    ).astype(np.float32),
    'valid': np.arange(12) != i % 24,
    'label/land_cover': np.int32(label),
    'label/crops': np.int32(label if i % 2 else -1),
  }


def write(path, splits=(('train', 48), ('val', 10)), **changes):
  """Writes the data set in `path`; returns that.

  Args:
    path: folder, made here.
    splits: pairs of name and number of examples.
    **changes: fields that replace those of every example.
  """
  path.mkdir(parents=True, exist_ok=True)
  first = example('train', 0) | changes
  features = tfds.features.FeaturesDict(
    {
      name: tfds.features.Text()
      if name == 'key'
      else tfds.features.Tensor(
        shape=np.shape(x), dtype=np.asarray(x).dtype, encoding='bytes'
      )
      for name, x in first.items()
    }
  )
  serializer = tfds.core.example_serializer.ExampleSerializer(
    features.get_serialized_info()
  )
  template = tfds.core.ShardedFileTemplate(
    data_dir=path,
    template='{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}',
    filetype_suffix='array_record',
  )
  for split, count in splits:
    writer = array_record_module.ArrayRecordWriter(
      str(path / f'{split}-00000-of-00001.array_record'), 'group_size:1'
    )
    for i in range(count):
      writer.write(
        serializer.serialize_example(
          features.encode_example(example(split, i) | changes)
        )
      )
    writer.close()
  tfds.folder_dataset.write_metadata(
    data_dir=path,
    features=features,
    filename_template=template,
    version='1.0.0',
    check_data=False,
    split_infos=[
      tfds.core.SplitInfo(
        name=split,
        filename_template=template,
        shard_lengths=[count],
        num_bytes=0,
      )
      for split, count in splits
    ],
  )
  (path / 'statistics.json').write_text(json.dumps({}))
  (path / 'prompts').mkdir(exist_ok=True)
  for label in ('land_cover',):
    made = prompts.from_classes(labels.classes(label))
    prompt_files.write(
      path / 'prompts' / f'{label}.npz',
      prompts.Prompts(
        made.classes, made.texts, made.class_of, _concepts().astype(np.float32)
      ),
    )
  return path


def _concepts():
  return np.random.default_rng(9).normal(size=(len(_CLASSES), WIDTH))
