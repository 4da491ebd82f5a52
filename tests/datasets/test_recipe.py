"""Fields of a data set's description that cannot be what they are."""

import pytest

from fusion_jax import datasets


@pytest.mark.parametrize('name', ['zstd:99', 'brotli:12', 'gzip', 'snappy:1'])
def test_a_compression_that_no_record_has_is_refused(name):
  with pytest.raises(
    ValueError, match=f"compression='{name}' of simulated is not known; write"
  ):
    datasets.Simulated(compression=name)


@pytest.mark.parametrize('name', ['zstd:22', 'zstd', 'uncompressed', 'snappy'])
def test_a_compression_of_records_is_taken(name):
  assert datasets.Simulated(compression=name).compression == name
