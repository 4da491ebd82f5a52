"""Dependencies, checks and hooks agree with each other."""

import configparser
import re

import pytest
import yaml
from packaging import requirements

from tests.structure import source

SETUP = configparser.ConfigParser()
SETUP.read(source.ROOT / 'setup.cfg')
# Not installed by the checks: accelerators.
UNTESTED = {'gpu', 'tpu'}


def requirements_of(text):
  lines = (line.partition('  #')[0].strip() for line in text.splitlines())
  return [
    requirements.Requirement(line)
    for line in lines
    if line and not line.startswith(('#', '%('))
  ]


def raw(section, option):
  return SETUP.get(section, option, raw=True)


EXTRAS = {
  name: requirements_of(raw('options.extras_require', name))
  for name in SETUP['options.extras_require']
}
REQUIRED = requirements_of(raw('options', 'install_requires'))


def bounds(needed):
  return {spec.operator: spec.version for spec in needed.specifier}


@pytest.mark.parametrize(
  'needed', [*REQUIRED, *sum(EXTRAS.values(), [])], ids=str
)
def test_every_dependency_has_a_lower_bound(needed):
  assert {'>=', '==', '~='} & set(bounds(needed))


def test_oldest_versions_are_the_lower_bounds():
  text = (source.ROOT / '.ci' / 'oldest.txt').read_text()
  pins = {pin.name: bounds(pin)['=='] for pin in requirements_of(text)}
  tested = [
    needed
    for name, extra in EXTRAS.items()
    if name not in UNTESTED | {'test'}
    for needed in extra
  ]
  for needed in [*REQUIRED, *tested]:
    pinned, bound = (
      re.sub(r'(\.0)+$', '', version)
      for version in (pins[needed.name], bounds(needed)['>='])
    )
    assert pinned == bound, needed


def test_two_extras_give_one_package_the_same_bound():
  specifiers = {}
  for needed in [*REQUIRED, *sum(EXTRAS.values(), [])]:
    first = specifiers.setdefault(needed.name, needed.specifier)
    assert first == needed.specifier or needed.extras, needed


def test_hooks_format_with_the_version_of_the_checks():
  ruff = next(needed for needed in EXTRAS['test'] if needed.name == 'ruff')
  hooks = yaml.safe_load((source.ROOT / '.pre-commit-config.yaml').read_text())[
    'repos'
  ][0]['hooks']
  versions = {
    requirements.Requirement(dependency).specifier
    for hook in hooks
    if hook['id'].startswith('ruff')
    for dependency in hook['additional_dependencies']
  }
  assert versions == {ruff.specifier}


def test_a_benchmark_hides_no_package():
  names = {path.stem for path in (source.ROOT / 'benchmarks').glob('*.py')}
  assert not names & {needed.name for needed in REQUIRED}


def test_workflow_runs_every_part_of_the_checks():
  workflow = yaml.safe_load(
    (source.ROOT / '.github' / 'workflows' / 'checks.yml').read_text()
  )
  jobs = workflow['jobs']['checks']['strategy']['matrix']['include']
  parts = ' '.join(job['parts'] for job in jobs).split()
  script = (source.ROOT / '.ci' / 'run').read_text()
  default = re.search(r'set -- (.*)', script)[1].split()
  assert sorted(parts) == sorted(default)
