"""The FLOPs that a training step of the backbone needs at least.

Only matrix products are counted, with 2 FLOPs per multiply-add: the blocks on
all slots and every head on its own targets, times three for the forward and the
backward pass.
"""

import numpy as np

from fusion_jax.models import backbone as backbone_lib
from fusion_jax.types import Batch


def training_flops(backbone: backbone_lib.Backbone, batch: Batch) -> int:
  """Returns the FLOPs of one training step.

  Args:
    backbone: the model.
    batch: slots of the encoder and the decoder as NumPy arrays, see
      tasks/pretrain.py: 'modality' int [B, N] and [B, M], 'trainable' bool
      [B, M].
  """
  inputs = batch['encoder']['modality']
  slots = batch['decoder']
  targets = slots['modality'][np.asarray(slots['trainable'])]
  heads = (
    sum(
      int(np.sum(targets == head.index)) * head.vocab_size
      for head in backbone.heads
    )
    * backbone.width
  )
  blocks = len(inputs) * block_products(
    backbone, inputs.shape[1], slots['modality'].shape[1]
  )
  return 3 * 2 * (blocks + heads)


def block_products(
  backbone: backbone_lib.Backbone, num_inputs: int, num_targets: int
) -> int:
  """Returns the multiply-adds of all blocks for the slots of one example.

  Args:
    backbone: the model.
    num_inputs: N, number of slots of the encoder.
    num_targets: M, number of slots of the decoder.
  """
  width = backbone.width
  mlp = 3 * (8 * width // 3) if backbone.mlp == 'swiglu' else 8 * width
  encoder = (4 * width + mlp + 2 * num_inputs) * width * num_inputs
  # Maps of two attentions; keys and values of the second are the context's.
  decoder = (
    (6 * width + mlp + 2 * (num_targets + num_inputs)) * num_targets
    + 2 * width * num_inputs
  ) * width
  return (
    backbone.encoder_depth * encoder
    + backbone.decoder_depth * decoder
    + num_inputs * width**2
  )
