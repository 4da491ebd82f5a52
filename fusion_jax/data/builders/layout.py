"""Names of the files of a prepared data set, and how they are replaced.

Nothing heavy is imported here: the command line reads the version, too.
"""

import os
import pathlib
import uuid

VERSION = '1.0.0'  # Of the layout of examples and statistics.
TEMPLATE = '{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}'  # In the words of TFDS.
INFO = 'dataset_info.json'
FEATURES = 'features.json'
STATISTICS = 'statistics.json'
CODES = 'codes.json'
NOTES = '.notes'  # Folder: which shards are whole, and what they left out.
RECORDS = '*.array_record'


def shard_name(split: str, index: int, total: int) -> str:
  """File name of shard `index` of the `total` shards of a split."""
  return f'{split}-{index:05d}-of-{total:05d}.array_record'


def is_complete(folder: pathlib.Path) -> bool:
  """Whether a folder has all metadata that a finished data set has."""
  return all((folder / name).exists() for name in (INFO, FEATURES, STATISTICS))


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a text file that is never seen half-written."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(temporary_name(path))
  temporary.write_text(text)
  os.replace(temporary, path)


def temporary_name(path: pathlib.Path) -> str:
  """A file name that no other call uses.

  A process id would not do: hosts and containers share process ids.
  """
  return f'{path}.tmp-{uuid.uuid4().hex}'
