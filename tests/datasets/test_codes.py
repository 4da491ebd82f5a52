"""Codes beside prepared data: what is stored of series, and what is refused."""

import numpy as np
import pytest
from array_record.python import array_record_module

import fusion_jax
from fusion_jax import datasets, inference, locks, modalities
from fusion_jax.data import records
from fusion_jax.datasets import build
from fusion_jax.inference import image_codec, series_codec
from fusion_jax.models import series_codes
from tests import trained, trained_series


@pytest.fixture
def data_dir(tmp_path):
  recipe = datasets.Simulated(
    image_size=16,
    images=('LULC',),
    splits=dict(train=8, val=2),
    examples_per_shard=4,
    compression='zstd:1',
  )
  return datasets.prepare(
    recipe, tmp_path / 'data', datasets.BuildSettings(num_workers=1)
  )


def write(data, workdir, **settings):
  return datasets.write_codes(
    datasets.Codes(data=str(data), tokenizers=(str(workdir),), **settings)
  )


@pytest.fixture
def run(tmp_path):
  (tmp_path / 'run').mkdir()
  return trained_series.write_workdir(
    tmp_path / 'run', ('t2m_hourly', 'tp_hourly')
  )


def test_codes_of_series_are_those_of_the_tokenizer(data_dir, run):
  before = records.Examples(data_dir, 'train')
  before = [before[i] for i in range(8)]
  with build.hold(data_dir, (0, 1)):
    with pytest.raises(locks.InUseError, match='data is in use by process'):
      write(data_dir, run)
  assert write(data_dir, run, batch_size=3)
  codec, examples = fusion_jax.load(run), records.Examples(data_dir, 'train')
  assert 'codes/corners' not in examples.fields
  for i, old in enumerate(before):
    for name, value in old.items():
      np.testing.assert_array_equal(examples[i][name], value)
    for name in codec.names:
      ids = examples[i][f'codes/{name}']
      assert ids.dtype == np.uint16 and ids.shape == (60,)
      np.testing.assert_array_equal(ids, codec.encode(old[name], name))
  kept = series_codes.load(data_dir, 'tp_hourly')
  assert kept.fingerprint == codec.codes['tp_hourly'].fingerprint


def test_another_tokenizer_needs_to_be_told(data_dir, run, tmp_path):
  assert write(data_dir, run)
  (tmp_path / 'other').mkdir()
  other = trained_series.write_workdir(tmp_path / 'other', seed=1)
  with pytest.raises(ValueError, match='codes of other tokenizers.*overwrite'):
    write(data_dir, other)
  new = fusion_jax.load(other).codes['t2m_hourly'].fingerprint
  assert series_codes.load(data_dir, 't2m_hourly').fingerprint != new
  assert write(data_dir, other, overwrite=True)
  assert series_codes.load(data_dir, 't2m_hourly').fingerprint == new


def test_what_is_no_tokenizer_is_refused(tmp_path):
  trained.write_workdir(tmp_path)
  with pytest.raises(
    ValueError, match='holds a backbone .*; writing codes needs a tokenizer of'
  ):
    write(tmp_path, tmp_path)


def test_a_tokenizer_with_more_codes_than_the_vocabulary_is_refused(
  tmp_path, monkeypatch
):
  codec = object.__new__(image_codec.ImageCodec)
  codec.modality, codec.num_codes = modalities.get('tok_ndvi@224'), 32_768
  monkeypatch.setattr(inference, 'load', lambda workdir: codec)
  with pytest.raises(ValueError, match='ndvi.* 32768 codes.* 15360 of'):
    write(tmp_path, tmp_path / 'ndvi')


@pytest.mark.parametrize('stride, size', [(2, 300), (1, 70_000)])
def test_a_series_tokenizer_that_pretraining_cannot_read_is_refused(
  tmp_path, monkeypatch, stride, size
):
  codec = object.__new__(series_codec.SeriesCodec)
  vars(codec).update(stride=stride, vocab_size=size, names=(), codes={})
  monkeypatch.setattr(inference, 'load', lambda workdir: codec)
  with pytest.raises(ValueError, match=f'{stride} steps, out of {size}'):
    write(tmp_path, tmp_path / 't2m')


def test_shards_keep_their_compression(data_dir, run):
  assert write(data_dir, run)
  path = next(data_dir.glob('train-*.array_record'))
  reader = array_record_module.ArrayRecordReader(str(path))
  assert 'zstd:1' in reader.writer_options_string()
  reader.close()


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(num_workers=0), 'num_workers=0 is not a number of 1 or more'),
    (dict(beam_options=('a=b',)), 'a=b need --beam-runner'),
  ],
)
def test_settings_that_do_not_fit_are_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    datasets.Codes(data='data', tokenizers=('run',), **fields)


def test_no_tokenizers_are_refused():
  with pytest.raises(ValueError, match='No tokenizers are named'):
    datasets.Codes(data='data', tokenizers=())
