import pytest

from fusion_jax import modalities
from fusion_jax.models import backbone, costs

# Forward GFLOP a sample of 128 + 128 slots, counted by hand for TerraMind.
SIZES = {
  'tiny': (2.22, 192, 12, 4, 3, 'gelu'),
  'small': (9.70, 384, 12, 6, 6, 'gelu'),
  'base': (52.70, 768, 12, 12, 12, 'swiglu'),
  'large': (185.5, 1024, 24, 24, 16, 'swiglu'),
}


@pytest.mark.parametrize('size', SIZES)
def test_blocks_cost_what_the_specification_says(size):
  gflop, width, encoder_depth, decoder_depth, num_heads, mlp = SIZES[size]
  model = backbone.Backbone(
    modalities.select(['coords']),
    width,
    encoder_depth,
    decoder_depth,
    num_heads,
    mlp,
  )
  result = 2e-9 * costs.block_products(model, 128, 128)
  assert result == pytest.approx(gflop, rel=2e-3)
