"""Data sets hold the values they held before.

Compared with `testdata/earlier/data`: hashes of the record files and values of
the fields of data sets that `fusion_jax.prepare` made, and two whole ones.
"""

import json
import shutil
import warnings

import numpy as np
import pytest

from tests.earlier import datasets, outputs

_KEPT = outputs.FOLDER / 'data'


@pytest.mark.slow
@pytest.mark.filterwarnings('default:Other bytes')
@pytest.mark.parametrize('name', sorted(datasets.COMMANDS))
def test_a_fresh_data_set_has_the_values_of_before(name, tmp_path):
  datasets.prepare(name, tmp_path / name)
  result = datasets.describe(tmp_path / name)
  with np.load(_KEPT / f'{name}.npz') as file:
    before = dict(file)
  other = [
    key
    for key in before
    if key.endswith('/digest') and result.get(key) != before[key]
  ]
  if other and (_KEPT / f'{name}.zip').exists():
    shutil.unpack_archive(_KEPT / f'{name}.zip', tmp_path / 'kept')
    for key in other:  # Another processor may round to the next count.
      field = key.removesuffix('/digest')
      ours, kept = (
        datasets.values(tmp_path / folder, field) for folder in (name, 'kept')
      )
      np.testing.assert_allclose(ours, kept, rtol=0, atol=1, err_msg=field)
      assert (ours != kept).mean() < 1e-3
      del result[key], before[key]
  outputs.compare(result, before, rtol=1e-6, atol=1e-7)
  kept = json.loads((_KEPT / 'records.json').read_text())[name]
  hashes = datasets.hashes(tmp_path / name)
  assert hashes.keys() == kept.keys()
  differing = sorted(key for key in kept if hashes[key] != kept[key])
  if differing:  # Another processor may round the last digit differently.
    warnings.warn(f'Other bytes, same values: {differing}', stacklevel=1)


@pytest.mark.slow
def test_an_earlier_data_set_is_not_prepared_again(tmp_path):
  shutil.unpack_archive(_KEPT / 'simulated.zip', tmp_path)
  before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob('*')}
  datasets.prepare('simulated', tmp_path)
  assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*')}


@pytest.mark.parametrize('name', ['simulated', 'simulated_pixels'])
def test_an_earlier_data_set_opens(name, tmp_path):
  shutil.unpack_archive(_KEPT / f'{name}.zip', tmp_path)
  with np.load(_KEPT / f'{name}.npz') as file:
    kept = {key: x for key, x in file.items() if '.npz/' not in key}
  outputs.compare(datasets.describe(tmp_path), kept, rtol=0, atol=0)
