"""Costs of encoders as the specification counts them."""

import numpy as np
import pytest

from fusion_jax.evals import efficiency
from fusion_jax.models import clip, pixel_encoder


def test_paper_sizes_have_the_published_parameters_and_multiply_adds():
  costs = efficiency.paper_sizes()
  assert [cost.parameters for cost in costs] == [
    8_169_472,
    8_292_352,
    8_579_072,
  ]
  assert [cost.macs for cost in costs] == [
    103_598_080,
    105_072_640,
    108_513_280,
  ]
  clip_cost = efficiency.of_clip()
  assert clip_cost.parameters == 151_277_313
  assert clip_cost.macs / 1e9 == pytest.approx(4.409 + 4 * 2.979, abs=0.01)
  text = efficiency.table([clip_cost, *costs])
  assert '103,598,080' in text and '8.17 (8.17)' in text
  assert '0.1036 (0.1050)' in text


def test_time_and_memory_are_measured():
  encoder = pixel_encoder.PixelEncoder(
    width=32, depth=2, num_heads=2, hidden=16, output_width=16
  )
  cost = efficiency.of_encoder(encoder, 'small', repeats=3)
  assert cost.latency_ms > 0
  assert cost.memory_mb * 1e6 > 4 * cost.parameters
  assert efficiency.metrics(cost)['efficiency/macs'] == cost.macs
  assert np.isnan(efficiency.of_encoder(encoder).latency_ms)


def test_clip_is_measured_with_an_image_and_four_texts():
  model = clip.Clip(
    activation='gelu',
    image_size=32,
    patch=16,
    vision_width=32,
    vision_depth=1,
    vision_heads=2,
    text_width=16,
    text_depth=1,
    text_heads=2,
    width=8,
    vocab_size=64,
    context=8,
  )
  cost = efficiency.of_clip(model, repeats=2)
  assert cost.memory_mb * 1e6 > 4 * cost.parameters
  image = efficiency.of_clip_image(model, repeats=2)
  assert image.latency_ms > 0
  assert image.macs < cost.macs and image.memory_mb < cost.memory_mb
