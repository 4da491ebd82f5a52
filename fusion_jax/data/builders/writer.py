"""Opens files of ArrayRecord for writing."""

from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]  # A compiled module.


def open_file(path: str, compression: str) -> Any:
  """A writer of records (bytes); they are there when it is closed.

  Args:
    path: file to write.
    compression: compression of ArrayRecord: 'zstd:1', 'uncompressed', ...
  """
  # One record a group: what is asked for is all that is decompressed.
  return array_record_module.ArrayRecordWriter(
    path, f'group_size:1,{compression}'
  )
