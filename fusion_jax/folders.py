"""Checks of folders that a user names."""

import os
import pathlib


def existing(path: str | os.PathLike[str]) -> pathlib.Path:
  """A folder that has to be there, as a path.

  Args:
    path: the folder; `~` is the home of the user.

  Raises:
    FileNotFoundError: if there is no such folder.
    NotADirectoryError: if it is a file.
  """
  folder = pathlib.Path(path).expanduser()
  if folder.is_dir():
    return folder
  if folder.exists():
    raise NotADirectoryError(f'{folder} is a file; give the path of a folder.')
  raise FileNotFoundError(
    f'There is no folder {folder}; give the path of a folder that exists.'
  )
