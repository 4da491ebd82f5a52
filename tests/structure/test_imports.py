"""The folders of the package import what stands below them (.importlinter)."""

import subprocess
import sys

import pytest

from tests.structure import source

# Doors of the commands, and the package itself.
DOORS = [
  'calibrate',
  'clip_baseline',
  'convert',
  'generate',
  'main',
  'map_scene',
  'prepare',
  'search',
]
HEAVY = ['jax', 'matplotlib', 'rasterio', 'scipy', 'tensorflow_datasets']


@pytest.mark.parametrize('contract', ['layers', 'tasks', 'cycles'])
def test_contract_of_imports_is_kept(contract):
  # In a process of its own: the linter keeps the console that it first saw.
  program = (
    'import sys; from importlinter import cli; sys.exit(cli.lint_imports('
    'config_filename=".importlinter", no_cache=True, '
    f'limit_to_contracts=({contract!r},)))'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    cwd=source.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize('door', DOORS)
def test_help_imports_no_heavy_package(door):
  program = (
    'import runpy, sys\n'
    'sys.argv = ["door", "--help"]\n'
    'try:\n'
    f'  runpy.run_module("fusion_jax.{door}", run_name="__main__")\n'
    'except SystemExit as end:\n'
    '  assert not end.code, end.code\n'
    f'heavy = sorted(set({HEAVY}) & set(sys.modules))\n'
    'assert not heavy, heavy\n'
  )
  result = _python(program)
  assert not result.returncode, result.stderr


def test_importing_the_package_imports_no_heavy_package():
  result = _python(
    'import sys, fusion_jax\n'
    f'heavy = sorted(set({HEAVY}) & set(sys.modules))\n'
    'assert not heavy, heavy\n'
  )
  assert not result.returncode, result.stderr


@pytest.mark.parametrize(
  'folder', ['data.readers', 'data.sources', 'datasets', 'simulation']
)
def test_preparing_data_imports_no_jax(folder):
  # Every process that prepares a shard imports what reads the archive.
  names = [
    module.name.removesuffix('.py').removesuffix('/__init__').replace('/', '.')
    for module in source.modules()
    if module.name.startswith(f'fusion_jax/{folder.replace(".", "/")}')
  ]
  assert names
  result = _python(
    'import importlib, sys\n'
    f'for name in {names}:\n'
    '  importlib.import_module(name)\n'
    '  assert "jax" not in sys.modules, name\n'
  )
  assert not result.returncode, result.stderr


def _python(program):
  return subprocess.run(
    [sys.executable, '-c', program],
    cwd=source.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
