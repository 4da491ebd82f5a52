"""Markdown tables of results."""

import math


def markdown(header, rows):
  """A Markdown table.

  Args:
    header: names of the columns.
    rows: lists of cells; text stands left, numbers right, as text they are
      formatted with `number`.

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


def number(value, digits=3):
  """A number as text: `digits` decimals below 100, none above; n/a for NaN."""
  if isinstance(value, int):
    return f'{value:,}'
  if not math.isfinite(value):
    return 'n/a'
  if abs(value) >= 100:
    return f'{value:,.0f}'
  return f'{value:.{digits}f}'


def with_interval(value, interval, digits=3):
  """'0.912 [0.890, 0.930]'."""
  low, high = (number(bound, digits) for bound in interval)
  return f'{number(value, digits)} [{low}, {high}]'
