"""Every task trains alike on 2 processes x 4 devices, on 8 devices and on 1."""

import numpy as np
import pytest

from fusion_jax import runs
from tests import pixel_data
from tests.tasks import every_task, runner
from tests.train import harness


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """Work directories of three runs, {devices: folder}."""
  path = tmp_path_factory.mktemp('every_task')
  arguments = (
    *('--earth', runner.prepare_data(path / 'earth')),
    *('--pixels', pixel_data.write(path / 'pixels')),
  )
  made = {name: path / name for name in ('1', '1 x 8', '2 x 4')}
  script = every_task.__file__
  for name, devices in (('1', 1), ('1 x 8', 8)):
    harness.run(
      script,
      '--workdir',
      made[name],
      *arguments,
      devices=devices,
      timeout=600,
    )
  harness.run_processes(
    script, '--workdir', made['2 x 4'], *arguments, timeout=600
  )
  return made


@pytest.mark.slow
@pytest.mark.multi_device
@pytest.mark.parametrize('task', sorted(runs.TASKS))
def test_any_devices_and_processes_give_the_same_losses(folders, task):
  one, eight, two = (
    [record['train/loss'] for record in harness.losses(folder / task).values()]
    for folder in (folders['1'], folders['1 x 8'], folders['2 x 4'])
  )
  assert len(set(one)) == 20
  for losses in (eight, two):  # That of series is 300 K at the start.
    np.testing.assert_allclose(losses, one, rtol=1e-6, atol=1e-5)
