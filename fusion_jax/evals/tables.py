"""Markdown tables of results."""

import math
from collections.abc import Sequence

Cell = str | int | float


def markdown(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
  """Makes a Markdown table.

  Args:
    header: names of the columns.
    rows: cells of each row; text stands on the left and numbers, written by
      `number`, on the right.

  Returns:
    Lines joined with newlines, without a closing one.

  Raises:
    ValueError: if a row has another length than the header.
  """
  for row in rows:
    if len(row) != len(header):
      raise ValueError(
        f'{len(row)} cells for {len(header)} columns {tuple(header)}: {row}.'
      )
  numeric = [
    all(not isinstance(row[i], str) for row in rows) for i in range(len(header))
  ]
  rule = ['---:' if is_number else '---' for is_number in numeric]
  cells = [
    [c if isinstance(c, str) else number(c) for c in row] for row in rows
  ]
  return '\n'.join(
    '| ' + ' | '.join(row) + ' |' for row in [list(header), rule, *cells]
  )


def number(value: int | float, digits: int = 3) -> str:
  """Writes a number: with decimals below 100, without above; 'n/a' for NaN.

  Args:
    value: int, with a comma between thousands, or float.
    digits: number of decimals.
  """
  if isinstance(value, int):
    return f'{value:,}'
  if not math.isfinite(value):
    return 'n/a'
  if abs(value) >= 100:
    return f'{value:,.0f}'
  return f'{value:.{digits}f}'


def with_interval(
  value: float, interval: tuple[float, float], digits: int = 3
) -> str:
  """Writes a number with its interval, as '0.912 [0.890, 0.930]'.

  Args:
    value: the number.
    interval: (low, high).
    digits: number of decimals.
  """
  low, high = (number(bound, digits) for bound in interval)
  return f'{number(value, digits)} [{low}, {high}]'
