r"""Times a training step against a plain matrix product in the same process.

  python benchmarks/train_step.py [--size=base] [--batch=16] [--unroll=1]

Raw S2L2A, the six tokenised modalities and coords with random codes, 128
encoder and 128 decoder slots by 4M's budgets, float32, clipping and AdamW
included. Prints one row of a Markdown table. Model FLOPs count what must be
computed: the blocks on all slots, each head on its valid targets only, two a
multiply-add, times three for the gradient; the yardstick is the median
2048 x 2048 x 2048 product, taken between the steps.
"""

import platform
import statistics
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from fusion_jax import modalities as modality_table
from fusion_jax.configs import pretrain as pretrain_config
from fusion_jax.data import budgets, masking
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.ops import grouped_losses, losses
from fusion_jax.train import optim, rng, step
from fusion_jax.train import state as state_lib

SLOTS = 128  # Number of slots of the encoder, and of the decoder.
PRODUCT = 2048  # Rows and columns of the yardstick.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_enum(
    'size', 'base', sorted(pretrain_config.SIZES), 'Model size.'
  )
  flags.DEFINE_integer('batch', 16, 'Examples a step.')
  flags.DEFINE_integer('steps', 7, 'Timed steps; the median counts.')
  flags.DEFINE_integer('unroll', 1, 'Layers a loop iteration.')
  flags.DEFINE_string('dtype', 'float32', 'Of the computation.')


def make_batch(selected, batch_size, seed=0):
  """A batch with random pixels and codes, masked as in pretraining."""
  random = np.random.default_rng(seed)
  mixture = budgets.all_to_all(selected)
  examples = []
  for _ in range(batch_size):
    seen, predicted = budgets.sample_budgets(mixture, selected, random)
    grids = {
      m.name: _mask(m, seen[m.name], predicted[m.name], random)
      for m in selected
    }
    examples.append(masking.pack(grids, selected, SLOTS, SLOTS))
  return jax.tree.map(lambda *x: np.stack(x), *examples)


def _mask(modality, seen, predicted, random):
  if modality.is_sequence:
    first = modality_table.FIRST_SENTINEL + modality_table.NUM_SENTINELS
    ids = random.integers(first, modality.vocab_size, modality.max_tokens)
    return masking.mask_sequence(
      ids, modality.max_tokens, seen, predicted, 'random', random
    )
  grid = masking.mask_image(modality.max_tokens, seen, predicted, random)
  if modality.kind == 'image':
    shape = (224, 224, len(modality.bands))
    return grid | {'tensor': random.normal(size=shape).astype(np.float32)}
  codes = random.integers(0, modality.vocab_size, modality.max_tokens)
  return grid | {'tensor': codes}


def make_task(backbone):
  """Makes a task with `weigh` and `loss` of pretraining, without its data."""

  def weigh(batch):
    slots = batch['decoder']
    weight = losses.modality_weights(
      slots['modality'], slots['trainable'], backbone.heads
    )
    return batch | {'decoder': slots | {'weight': weight}}

  def loss(params, extra, batch, key):
    del key
    outputs = backbone.apply({'params': params}, batch)
    slots = {name: jnp.ravel(x) for name, x in batch['decoder'].items()}
    total, _ = grouped_losses.grouped_cross_entropy(
      outputs.reshape(-1, backbone.width),
      slots['modality'],
      slots['target'],
      slots['weight'],
      jnp.zeros_like(slots['weight']),
      backbone.output_tables(params),
      backbone.heads,
    )
    return total, ({}, extra)

  return types.SimpleNamespace(weigh=weigh, loss=loss)


def model_flops(backbone, batch):
  """Returns the FLOPs of a step that no implementation can avoid."""
  width, slots = backbone.width, SLOTS
  mlp = 3 * (8 * width // 3) if backbone.mlp == 'swiglu' else 8 * width
  attention = 2 * slots * width  # Scores and mix of one token.
  encoder = 4 * width**2 + mlp * width + attention
  decoder = 8 * width**2 + mlp * width + 2 * attention
  blocks = slots * (
    backbone.encoder_depth * encoder
    + backbone.decoder_depth * decoder
    + width**2
  )
  targets = batch['decoder']['modality'][batch['decoder']['trainable']]
  heads = sum(
    int(np.sum(targets == head.index)) * head.vocab_size * width
    for head in backbone.heads
  )
  return 3 * 2 * (len(batch['decoder']['modality']) * blocks + heads)


def timed(function, *args):
  """Returns the result of a call, and its seconds."""
  start = time.perf_counter()
  result = jax.block_until_ready(function(*args))
  return result, time.perf_counter() - start


def main(_):
  names = [*pretrain_config.IMAGE, *pretrain_config.TOKENISED, 'coords']
  backbone = backbone_lib.Backbone(
    modality_table.select(names),
    unroll=flags.FLAGS.unroll,
    dtype=flags.FLAGS.dtype,
    **pretrain_config.SIZES[flags.FLAGS.size],
  )
  batch = make_batch(backbone.modalities, flags.FLAGS.batch)
  flops = model_flops(backbone, batch)
  settings = pretrain_config.get_config().optimizer
  tx, _ = optim.make(settings, num_steps=10_000)
  init = jax.jit(
    lambda: state_lib.create(  # Not a constant of the program.
      backbone.init(rng.key_for(0, 'init', 0), batch)['params'], {}, tx
    )
  )
  state, batch = init(), jax.device_put(batch)
  train = jax.jit(
    step.make_train_step(make_task(backbone), tx, 0), donate_argnums=0
  )
  start = time.perf_counter()
  train = train.lower(state, batch).compile()
  compile_s = time.perf_counter() - start

  square = jax.random.normal(jax.random.key(0), (PRODUCT, PRODUCT))
  product = jax.jit(jnp.matmul)
  steps, products = [], []
  for _ in range(flags.FLAGS.steps + 1):  # The first run allocates memory.
    (state, _), seconds = timed(train, state, batch)
    steps.append(seconds)
    products += [timed(product, square, square)[1] for _ in range(5)]
  step_s = statistics.median(steps[1:])
  rate = flops / step_s
  peak = 2 * PRODUCT**3 / statistics.median(products[5:])
  tokens = 2 * SLOTS * flags.FLAGS.batch / step_s
  print(
    '| size | batch | step s (min..max) | compile s | model GFLOP | '
    'GFLOP/s | product GFLOP/s | share | tokens/s | device | versions |\n'
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n'
    f'| {flags.FLAGS.size} | {flags.FLAGS.batch} | {step_s:.2f} '
    f'({min(steps[1:]):.2f}..{max(steps[1:]):.2f}) | {compile_s:.1f} | '
    f'{flops / 1e9:.0f} | {rate / 1e9:.0f} | {peak / 1e9:.0f} | '
    f'{rate / peak:.0%} | {tokens:.0f} | {jax.device_count()} x '
    f'{jax.devices()[0].device_kind} | jax {jax.__version__}, Python '
    f'{platform.python_version()} |'
  )


if __name__ == '__main__':
  define_flags()
  app.run(main)
