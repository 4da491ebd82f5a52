"""Data of a run with several processes, of which one cannot open them."""

import pytest

from tests.assembly import opening
from tests.train import harness


@pytest.mark.slow
@pytest.mark.multi_device
@pytest.mark.parametrize('kind', ['parts', 'url'])
def test_no_process_goes_on_where_another_cannot_open_its_data(tmp_path, kind):
  outputs = harness.run_processes(
    opening.__file__, '--workdir', tmp_path, '--kind', kind, devices=1
  )
  first, second = [output.strip().splitlines()[-1] for output in outputs]
  assert second.startswith('ValueError: ')
  assert 'config.data.remote.cache' in second
  assert first.startswith(
    f'PreparationError: Process 1 of this run could not open the data: {second}'
  )
