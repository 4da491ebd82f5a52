"""The encoder alone on plain arrays: units, sizes, bands, wrong inputs."""

import jax
import ml_collections
import numpy as np
import pytest

from fusion_jax import modalities
from fusion_jax.assembly import encoder as encoder_assembly
from fusion_jax.inference import encoder_model
from fusion_jax.models import coordinate_tokenizer, encoder

S2L2A, LULC = 'untok_sen2l2a@224', 'tok_lulc@224'


@pytest.fixture(scope='module')
def model():
  config = ml_collections.ConfigDict(
    dict(
      modalities=['coords', LULC, 'untok_dem@224', S2L2A],
      image_size=32,
      coords_vocab_size=2_366,
      merge='none',
      model=dict(
        width=8,
        depth=2,
        num_heads=2,
        mlp='swiglu',
        use_bias=False,
        dtype='float32',
        unroll=1,
      ),
    )
  )
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32),
    encoder.param_shapes(encoder_assembly.make_model(config)),
  )
  return encoder_model.EncoderModel(
    config, params, coordinate_tokenizer.build()
  )


@pytest.fixture(scope='module')
def image():
  return np.random.default_rng(1).normal(2_000, 900, (2, 32, 48, 12))


def test_images_are_standardised_as_terramind_does(model, image):
  table = modalities.MODALITIES[S2L2A]
  standard = ((image - table.mean) / table.std).astype(np.float32)
  expected = model.encoder.apply({'params': model.params}, {S2L2A: standard})
  result = model.encode({'S2L2A': image}, every_layer=True)
  assert len(result) == 2 and result[-1].shape == (2, 6, 8)
  for ours, theirs in zip(result, expected):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_missing_pixel_counts_as_the_mean(model, image):
  one, two = image.copy(), image.copy()
  one[0, 3, 4, 5] = np.nan
  two[0, 3, 4, 5] = modalities.MODALITIES[S2L2A].mean[5]
  np.testing.assert_allclose(
    model.encode({'S2L2A': one}), model.encode({'S2L2A': two}), atol=1e-5
  )


def test_one_place_needs_no_leading_axis(model, image):
  inputs = {'lat': 10.0, 'lon': -20.0, 'LULC': np.full((2, 2), 7)}
  one = model.encode(inputs | {'S2L2A': image[0]})
  assert one.shape == (3 + 4 + 6, 8)  # lat, lon, [EOS]; codes; patches.
  both = model.encode(
    {name: np.stack([x, x]) for name, x in inputs.items()} | {'S2L2A': image}
  )
  np.testing.assert_allclose(one, both[0], atol=1e-5)


def test_some_bands_are_the_others_left_out(model, image):
  """A band at its mean adds nothing; the columns of the rest stay."""
  bands = ('B04', 'B02', 'B8A')
  table = modalities.MODALITIES[S2L2A]
  chosen = [table.bands.index(band) for band in bands]
  rest_at_mean = np.broadcast_to(table.mean, image.shape).copy()
  rest_at_mean[..., chosen] = image[..., chosen]
  fewer = model.with_bands('S2L2A', bands)
  np.testing.assert_allclose(
    fewer.encode({'S2L2A': image[..., chosen]}),
    model.encode({'S2L2A': rest_at_mean}),
    rtol=1e-4,
    atol=1e-4,
  )
  with pytest.raises(ValueError, match='3. or a batch'):
    fewer.encode({'S2L2A': image})


def test_unknown_bands_are_named(model):
  with pytest.raises(ValueError, match="not .'B10'."):
    model.with_bands('S2L2A', ('B04', 'B10'))


@pytest.mark.parametrize(
  'inputs, message',
  [
    ({'S2L2A': np.ones((32, 32, 13))}, 'with the bands B01'),
    ({'S2L2A': np.ones((32, 40, 12))}, 'multiples of 16'),
    ({'S1GRD': np.zeros((32, 32, 2))}, 'cannot see'),
    ({'LULC': np.zeros((2, 2))}, 'integer codes'),
    ({'LULC': np.full((2, 2), 4_375)}, r'0\.\.4374'),
    ({'lat': 1.0}, 'at least one input'),
    (
      {'S2L2A': np.ones((2, 32, 32, 12)), 'LULC': np.zeros((3, 2, 2), int)},
      'same number',
    ),
  ],
)
def test_wrong_inputs_raise(model, inputs, message):
  with pytest.raises(ValueError, match=message):
    model.encode(inputs)
