"""Examples that could not be read: counted, named and limited."""

from collections.abc import Mapping, Sequence
from typing import Any


class TooManyBadExamples(ValueError):
  """Raised if more of an archive is unreadable than the caller accepts."""


class Limit:
  """Stops a build that leaves out too many examples.

  Notes are added one at a time, so that a build of n parts costs n steps.

  Attributes:
    num_parts: number of all parts; the size of the archive is estimated from
      the parts whose notes were added.
    max_bad: share of the archive, 0..1, that may be unreadable.
  """

  def __init__(self, num_parts: int, max_bad: float):
    self.num_parts, self.max_bad = num_parts, max_bad
    self._parts = self._examples = self._bad = 0
    self._named: list[Sequence[str]] = []  # The first bad ones.

  def add(self, note: Mapping[str, Any]) -> None:
    """Adds the note of a finished part.

    Args:
      note: has 'num_examples' and 'skipped', [[key, reason], ...].
    """
    self._parts += 1
    self._bad += len(note['skipped'])
    self._examples += note['num_examples'] + len(note['skipped'])
    room = max(_NAMED - len(self._named), 0)
    self._named += note['skipped'][:room]

  def check(self) -> None:
    """Checks what was added.

    Raises:
      TooManyBadExamples: if more of the archive is bad, even if all remaining
        examples are good.
    """
    size = self._examples * self.num_parts / max(self._parts, 1)
    if self._bad > self.max_bad * size:
      raise TooManyBadExamples(
        f'{self._bad} of {self._examples} examples could not be read, more '
        f'than {self.max_bad:.1%} of the archive: '
        f'{describe(self._named, self._bad)}. Repair the files, or accept '
        'more with --max-bad.'
      )


_NAMED = 10  # As many bad examples are named in a message.


def describe(skipped: Sequence[Sequence[str]], total: int) -> str:
  """Lists names and reasons of the first pairs [key, reason] of `total`."""
  named = skipped[:_NAMED]
  listed = '; '.join(f'{key} ({reason})' for key, reason in named)
  more = total - len(named)
  return listed + (f'; and {more} more' if more > 0 else '')
