"""How many FLOPs a training step of the backbone needs at least.

Matrix products only, 2 FLOPs a multiply-add: the blocks on all slots, every
head on its own targets, times three for forward and backward.
"""

import numpy as np


def training_flops(backbone, batch):
  """FLOPs of one step on a batch of slots.

  Args:
    backbone: `Backbone`.
    batch: of slots, NumPy; see tasks/pretrain.py.
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


def block_products(backbone, num_inputs, num_targets):
  """Multiply-adds of encoder and decoder on the slots of one example."""
  width = backbone.width
  mlp = 3 * (8 * width // 3) if backbone.mlp == 'swiglu' else 8 * width
  encoder = (4 * width + mlp + 2 * num_inputs) * width * num_inputs
  # Queries and keys of two attentions; keys of the second are the context's.
  decoder = (
    (6 * width + mlp + 2 * (num_targets + num_inputs)) * num_targets
    + 2 * width * num_inputs
  ) * width
  return (
    backbone.encoder_depth * encoder
    + backbone.decoder_depth * decoder
    + num_inputs * width**2
  )
