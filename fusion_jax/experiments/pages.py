"""Tables of results: to CSV, from CSV, and as Markdown."""

import csv
import dataclasses
import pathlib

from fusion_jax.evals import report
from fusion_jax.evals import tables as markdown_tables

_COLUMNS = ('table', 'row', 'column', 'value')
_NOTE = 'note'  # Row of a table's text in the CSV.

Cell = str | int | float


@dataclasses.dataclass(frozen=True)
class Table:
  """One table of a result page.

  Attributes:
    title: heading above the table.
    header: names of the columns.
    rows: cells of every row; the first names the row.
    note: Markdown paragraph between heading and table; '' for none.
  """

  title: str
  header: tuple[str, ...]
  rows: tuple[tuple[Cell, ...], ...]
  note: str = ''

  def blocks(self) -> list[str]:
    """Returns heading, note and table as blocks of Markdown."""
    cells = [
      [c if isinstance(c, str) else f'{c:g}' for c in row] for row in self.rows
    ]
    table = markdown_tables.markdown(self.header, cells)
    return [f'## {self.title}', *([self.note] if self.note else []), table]


def facts(configuration: str) -> Table:
  """Returns the table that says how the figures came about.

  Args:
    configuration: recipe card that was trained.
  """
  rows = (('configuration', f'`{configuration}`'), *map(tuple, report.facts()))
  return Table('This run', ('what', 'value'), rows)


def write_csv(path: pathlib.Path, tables: list[Table]) -> None:
  """Writes tables in long form, a line a cell: table, row, column, value."""
  with open(path, 'w', newline='', encoding='utf-8') as file:
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(_COLUMNS)
    for table in tables:
      if table.note:
        writer.writerow((table.title, _NOTE, '', table.note))
      for number, row in enumerate(table.rows, 1):
        for column, cell in zip(table.header, row, strict=True):
          writer.writerow((table.title, number, column, cell))


def read_csv(path: pathlib.Path) -> list[Table]:
  """Reads what `write_csv` wrote; all cells are text.

  Raises:
    ValueError: if the file has other columns.
  """
  titles: dict[str, dict[str, dict[str, str]]] = {}
  notes: dict[str, str] = {}
  with open(path, newline='', encoding='utf-8') as file:
    reader = csv.DictReader(file)
    if tuple(reader.fieldnames or ()) != _COLUMNS:
      raise ValueError(
        f'{path} has the columns {reader.fieldnames}; results have '
        f'{", ".join(_COLUMNS)}. Run the experiment again.'
      )
    for line in reader:
      rows = titles.setdefault(line['table'], {})
      if line['row'] == _NOTE:
        notes[line['table']] = line['value']
      else:
        rows.setdefault(line['row'], {})[line['column']] = line['value']
  return [
    Table(
      title,
      tuple(next(iter(rows.values()))),
      tuple(tuple(row.values()) for row in rows.values()),
      notes.get(title, ''),
    )
    for title, rows in titles.items()
  ]


def look_up(
  tables: list[Table], title: str, row: str, column: str
) -> Cell | None:
  """Returns one cell, or None where the tables do not have it.

  Args:
    tables: tables of a study.
    title: heading of the table.
    row: text of the row's first cell.
    column: name of the column.
  """
  for table in tables:
    if table.title == title and column in table.header:
      for cells in table.rows:
        if cells[0] == row:
          return cells[table.header.index(column)]
  return None
