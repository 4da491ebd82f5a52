"""Tests that benchmarks can use each other."""

import importlib
import pathlib

FOLDER = pathlib.Path(__file__).parents[2] / 'benchmarks'


def test_all_benchmarks_are_imported_into_one_process():
  names = sorted(path.stem for path in FOLDER.glob('*.py'))
  assert 'train_step' in names
  for name in names:
    try:
      importlib.import_module(f'benchmarks.{name}')
    except ModuleNotFoundError as error:
      # What only the other side of a benchmark needs.
      if error.name not in ('torch', 'webdataset'):
        raise
