"""Errors of readers, which name the file that they are about."""

import contextlib
import os
from collections.abc import Iterator

from fusion_jax import extras

_LONGEST = 400  # Characters of an error that are told.


@contextlib.contextmanager
def reading(
  path: str | os.PathLike[str], kind: str, remedy: str = 'fetch it again'
) -> Iterator[None]:
  """Turns what a reader raises inside the block into an error of the file.

  Libraries that decode damaged bytes raise errors of every kind, without the
  name of the file. Those that name it already stay as they are.

  Args:
    path: path of the file.
    kind: what the file should be, such as 'NetCDF file'.
    remedy: what helps against damage.

  Raises:
    ValueError: names the file.
    OSError: if it cannot be opened.
  """
  try:
    yield
  except extras.MissingExtraError:
    raise
  except FileNotFoundError as error:
    if str(path) in str(error):
      raise
    raise ValueError(_text(path, kind, remedy, error)) from error
  except Exception as error:  # Damaged bytes cause many kinds of errors.
    inner = error
    while isinstance(inner, ExceptionGroup):  # Of reads at one time.
      inner = inner.exceptions[0]
    if isinstance(inner, (ValueError, OSError)) and str(path) in str(inner):
      if inner is error:
        raise
      raise inner from error
    raise ValueError(_text(path, kind, remedy, inner)) from error


@contextlib.contextmanager
def reading_text(
  path: str | os.PathLike[str], kind: str, remedy: str = 'copy it again'
) -> Iterator[None]:
  """As `reading`, of a file of text, which must be in UTF-8."""
  with reading(path, kind, remedy):
    try:
      yield
    except UnicodeDecodeError as error:
      raise ValueError(
        f'{path} is not in UTF-8 ({error}); convert it, for instance with '
        'iconv -f latin1 -t utf8.'
      ) from error


def _text(path, kind, remedy, error):
  """Returns the message of an error of a file."""
  detail = ' '.join(str(error).split())
  if len(detail) > _LONGEST:  # It may quote the file.
    detail = f'{detail[:_LONGEST]} ...'
  if isinstance(error, MemoryError):
    return (
      f'{path} asks for more memory than there is ({detail or "MemoryError"}); '
      f'it is damaged or no {kind}: {remedy}.'
    )
  if isinstance(error, RecursionError):
    return f'{path} is nested too deeply; it is damaged or no {kind}: {remedy}.'
  if isinstance(error, ValueError):
    return f'{path}: {detail.rstrip(".")}. If the file is damaged, {remedy}.'
  detail = f'{type(error).__name__}: {detail}'
  return f'{path} is damaged or no {kind} ({detail}); {remedy}.'
