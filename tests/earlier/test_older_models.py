"""Runs of models that have changed: converted when loaded, or refused by name.

The run of the pixel encoder is from before the first layer had parameters of
its own; `testdata/earlier/README.md` says how its outputs and its loss were
recorded.
"""

import numpy as np
import pytest
import scipy.special

import fusion_jax
from tests.earlier import outputs


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  folder = tmp_path_factory.mktemp('older')
  return fusion_jax.load(outputs.unpack('older/align_pixels', folder))


def test_outputs_of_the_earlier_layout_are_those_of_before(model):
  inputs, recorded = outputs.read('older/align_pixels.npz')
  pixels, valid = inputs['pixels'].astype('float32'), inputs['valid']
  results = {
    'encode': model.encode(pixels, valid),
    'encode_raw': model.encode(pixels, valid, normalize=False),
    'encode_quarterly': model.encode(pixels, valid, setting='quarterly'),
    'encode_single': model.encode(pixels, valid, setting='single'),
    'encode_days': model.encode(
      pixels[:, :7], valid[:, :7], days=inputs['days']
    ),
    'pool_views': model.pool_views(inputs['views']),
  }
  for name, values in results.items():
    largest = np.abs(recorded[name]).max()
    np.testing.assert_allclose(
      values, recorded[name], rtol=0, atol=1e-5 * largest, err_msg=name
    )


def test_the_loss_of_the_earlier_layout_is_that_of_before(model):
  inputs, recorded = outputs.read('older/align_pixels.npz')
  pixels, valid = inputs['pixels'].astype('float32'), inputs['valid']
  vectors = model.encode(pixels, valid).astype(np.float64)
  photos = model.pool_views(inputs['views']).astype(np.float64)
  logits = model.scale * vectors @ photos.T
  loss = -scipy.special.log_softmax(logits, axis=1).diagonal().mean()
  assert abs(loss - recorded['loss']) < 1e-5


def test_a_run_of_the_relief_tokenizer_is_refused_by_name(tmp_path):
  folder = outputs.unpack('trained/relief', tmp_path)
  with pytest.raises(
    ValueError,
    match='relief: This is a run of ReliefTokenizer, which was removed: train '
    'again with configs/image_tokenizer.py:modality=DEM',
  ):
    fusion_jax.load(folder)
