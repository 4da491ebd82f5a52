"""Names and replacement of the files of a prepared data set.

Nothing heavy is imported here, because the command line reads the version.
"""

import os
import pathlib
import uuid

VERSION = '1.0.0'  # Version of the layout of examples and statistics.
TEMPLATE = '{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}'  # In the notation of TFDS.
INFO = 'dataset_info.json'
FEATURES = 'features.json'
STATISTICS = 'statistics.json'
CODES = 'codes.json'
REPORT = 'report.json'  # What was read, skipped, and why.
CODES_REPORT = 'codes_report.json'
SCRATCH = '.scratch'  # Folder of what builds need while they run.
NOTES = '.notes'  # Folder of notes about finished shards.
RECORDS = '*.array_record'


def shard_name(split: str, index: int, total: int) -> str:
  """Returns the file name of shard `index` of `total` shards of a split."""
  return f'{split}-{index:05d}-of-{total:05d}.array_record'


def is_complete(folder: pathlib.Path) -> bool:
  """Returns whether a folder has all metadata of a finished data set."""
  return all((folder / name).exists() for name in (INFO, FEATURES, STATISTICS))


def write_whole(path: pathlib.Path, text: str) -> None:
  """Writes a text file, of which readers never see a part."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(temporary_name(path))
  temporary.write_text(text)
  os.replace(temporary, path)


def temporary_name(path: pathlib.Path) -> str:
  """Returns a file name that no other call uses.

  A process id is not enough: hosts and containers have equal process ids.
  """
  return f'{path}.tmp-{uuid.uuid4().hex}'
