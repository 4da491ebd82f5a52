"""What tyro says about a wrong command line, in one line of plain English."""

import itertools
import re
import textwrap

# What tyro says, and what is said instead.
_IN_PLAIN_ENGLISH = (
  (r'^Error parsing ', ''),
  (
    r"invalid literal for int\(\) with base 10: ('.*')",
    r'\1 is not a whole number',
  ),
  (r"could not convert string to float: ('.*')", r'\1 is not a number'),
  (r'Could not find valid parse for arguments: (\[.*\])', r'cannot read \1'),
  (
    r"^Missing value for argument '(.*)'\. Expected 1 values",
    r'\1 needs a value',
  ),
  (
    r"^invalid choice ('.*') for argument '(.*)'\. Expected one of \((.*?),?\)",
    r'\2: there is no \1; choose among \3',
  ),
  (r'^Unrecognized options: (.*)', r'what should \1 mean? It follows no flag'),
)


def condense(box: str) -> str:
  """One line of an error that tyro prints as a box of several lines.

  Args:
    box: what tyro printed: a title, the error, and after a rule its advice.
  """
  lines = [
    re.sub(r'\x1b\[[0-9;]*m', '', line).strip('│|').rstrip()
    for line in box.splitlines()
  ][1:]  # The first has the title.
  lines = itertools.dropwhile(_is_rule, lines)
  body = list(itertools.takewhile(lambda line: not _is_rule(line), lines))
  body = textwrap.dedent('\n'.join(body)).splitlines()
  if body and body[0].startswith('Missing from'):
    names = [line.split()[0] for line in body if re.match(r' {4}\S', line)]
    return f'needs {", ".join(names)}'
  text = ' '.join(' '.join(body).split())
  text = re.sub(r'no type matching .* Got errors: - .*?[>\])]: ', '', text)
  text = text.rstrip('.').replace(", 'None'", '')  # No choice, the default.
  for pattern, plain in _IN_PLAIN_ENGLISH:
    text = re.sub(pattern, plain, text)
  return text


def _is_rule(line: str) -> bool:
  """Whether a line of a box is a horizontal rule."""
  return bool(line.strip()) and set(line.strip()) <= set('─-╰╯+')
