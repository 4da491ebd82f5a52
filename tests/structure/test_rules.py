"""The package keeps the rules of its structure."""

import pytest

from tests.structure import rules

RULES = [
  rules.many_parameters,
  rules.keyword_dictionaries,
  rules.long_functions,
  rules.long_files,
  rules.silent_defaults,
  rules.missing_docstrings,
  rules.first_lines,
  rules.missing_annotations,
  rules.stub_descriptions,
  rules.unexplained_suppressions,
]


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: rule.__name__)
def test_no_place_breaks_the_rule(rule):
  places = rule()
  message = '\n'.join([rule.__doc__, *places])
  assert not places, message


def test_docstrings_of_functions_on_arrays_state_shapes():
  missing = rules.missing_shapes()
  share = len(missing) / len(rules.functions_on_arrays())
  assert share <= 0.05, '\n'.join(missing)


def test_suppressions_are_rare():
  lines = rules.suppressions()
  assert len(lines) <= rules.MAX_SUPPRESSIONS * rules.num_lines() / 1000, lines
