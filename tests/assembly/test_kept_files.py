"""What a run keeps beside its checkpoints is checked, and noted anew."""

import pytest

from fusion_jax import checksums
from fusion_jax.assembly import kept_files
from fusion_jax.models import series_codes


@pytest.mark.parametrize('stale', ['codes', '', 'other', '{"digest": "x"}'])
def test_an_attempt_that_saved_nothing_stops_no_new_run(tmp_path, stale):
  """Its codes have gone, or its file of checksums is no such file."""
  workdir, data = tmp_path / 'run', tmp_path / 'data'
  codes = workdir / series_codes.FOLDER / 't2m_hourly.msgpack'
  codes.parent.mkdir(parents=True)
  data.mkdir()
  (data / kept_files.STATISTICS).write_text('{}')
  if stale == 'codes':
    codes.write_bytes(b'codes')
    kept_files.keep(workdir, data, anew=True)
    codes.unlink()
  else:
    (workdir / checksums.FILE).write_text(stale)
  kept_files.keep(workdir, data, anew=True)
  kept_files.check(workdir, data)
  (workdir / kept_files.STATISTICS).write_text('{"a": 1}')
  with pytest.raises(ValueError, match='statistics.json is not what was saved'):
    kept_files.check(workdir, data)
