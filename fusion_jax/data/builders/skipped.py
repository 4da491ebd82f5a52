"""Examples that could not be read: counted, named and limited."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class TooManyBadExamples(ValueError):
  """Raised if more of an archive is unreadable than the caller accepts."""


def check(
  notes: Iterable[Mapping[str, Any]], total: int, max_bad: float
) -> None:
  """Stops a build that leaves out too many examples.

  Args:
    notes: notes of the finished parts, with 'num_examples' and 'skipped',
      [[key, reason], ...].
    total: number of all parts; the size of the archive is estimated from the
      finished parts.
    max_bad: share of the archive, 0..1, that may be unreadable.

  Raises:
    TooManyBadExamples: if more of the archive is bad, even if all remaining
      examples are good.
  """
  notes = list(notes)
  skipped = [bad for note in notes for bad in note['skipped']]
  seen = sum(note['num_examples'] for note in notes) + len(skipped)
  if len(skipped) > max_bad * seen * total / max(len(notes), 1):
    raise TooManyBadExamples(
      f'{len(skipped)} of {seen} examples could not be read, more than '
      f'{max_bad:.1%} of the archive: {describe(skipped)}. Repair the files, '
      'or accept more with --max-bad.'
    )


def describe(skipped: Sequence[Sequence[str]], limit: int = 10) -> str:
  """Lists names and reasons of the first `limit` pairs [key, reason]."""
  listed = '; '.join(f'{key} ({reason})' for key, reason in skipped[:limit])
  more = len(skipped) - limit
  return listed + (f'; and {more} more' if more > 0 else '')
