"""Optional packages: which `pip install` a missing one needs.

Readers of files, maps and searches need packages that training does not; each
group is an extra of `fusion_jax` (`options.extras_require` of setup.cfg).
"""

import contextlib
from collections.abc import Iterator


class MissingExtraError(ImportError):
  """Packages of an extra are not installed; the message names the extra."""


@contextlib.contextmanager
def needed(extra: str, purpose: str, otherwise: str = '') -> Iterator[None]:
  """Turns a failed import into an error that names the extra to install.

  Args:
    extra: name of the extra, such as 'map'.
    purpose: what the packages are needed for, as the subject of a sentence:
      'Writing maps'.
    otherwise: what else helps, as the end of the sentence; '' for nothing.

  Raises:
    MissingExtraError: if an import inside the block fails. A module of
      fusion_jax itself that cannot be found is a programming error and stays
      an ImportError.
  """
  try:
    yield
  except MissingExtraError:
    raise
  except ImportError as error:
    if (error.name or '').partition('.')[0] == 'fusion_jax':
      raise
    raise MissingExtraError(
      f'{purpose} needs packages that are not installed ({error}); install '
      f"them with: pip install 'fusion_jax[{extra}]'"
      + (f', or {otherwise}' if otherwise else ''),
      name=error.name,
    ) from error
