"""What errors say about the disk."""

import errno
import os


def is_full(error: BaseException | None) -> bool:
  """Tells whether an error, or one that caused it, is a full disk.

  Args:
    error: what was raised.
  """
  full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
  while error is not None:
    text = str(error)
    if getattr(error, 'errno', None) in full or any(
      os.strerror(code) in text for code in full
    ):
      return True
    error = error.__cause__ or error.__context__
  return False
