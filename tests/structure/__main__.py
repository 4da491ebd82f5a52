"""Prints figures of the package's structure: `python -m tests.structure`.

`-v` lists the places that break a rule.
"""

import sys

from tests.structure import rules, source
from tests.structure.test_rules import RULES


def main(argv):
  arrays = rules.functions_on_arrays()
  missing = rules.missing_shapes()
  print(f'files: {len(source.modules())}, lines: {rules.num_lines()}')
  print(f'public functions and methods: {len(source.public_functions())}')
  print(
    f'shapes stated: {len(arrays) - len(missing)} of {len(arrays)} functions '
    f'on arrays, {1 - len(missing) / max(len(arrays), 1):.1%}'
  )
  incomplete = {
    entry.rpartition(': ')[0] for entry in rules.missing_annotations()
  }
  print(f'signatures or classes that lack a type: {len(incomplete)}')
  print(f'suppressions: {len(rules.suppressions())}')
  for rule in [*RULES, rules.missing_shapes]:
    places = rule()
    print(f'{rule.__name__}: {len(places)}')
    if '-v' in argv:
      print(*(f'  {place}' for place in places), sep='\n')


if __name__ == '__main__':
  main(sys.argv[1:])
