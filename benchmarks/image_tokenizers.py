r"""Times an image tokenizer against a plain matrix product, same process.

  python -m benchmarks.image_tokenizers [--modality=S2L2A] [--image_size=224]

Encoding one image to ids and one step of the UNet, published size, batch 1,
float32, random weights. The yardstick is the median 2048 x 2048 x 2048 product,
taken between the runs. Prints a Markdown table of a row each; FLOPs count
matrix products and convolutions, as if every one were computed plainly. With
`--cpu_time` processor seconds count instead of the clock's, for a busy machine;
give it one core (`taskset -c 0`), or waiting threads count too. Blocks have
parameters of their own (`Tokenizer.unstacked`) unless `--stacked`.
"""

import functools
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from fusion_jax.models import image_tokenizer, tokenizer_costs

PRODUCT = 2048  # Rows and columns of the yardstick.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_string('modality', 'S2L2A', 'What is tokenised.')
  flags.DEFINE_integer('image_size', 224, 'Pixels a side.')
  flags.DEFINE_integer('batch', 1, 'Images.')
  flags.DEFINE_integer('runs', 7, 'Timed runs; the median counts.')
  flags.DEFINE_bool('stacked', False, 'Loop over stacked blocks.')
  flags.DEFINE_string('dtype', 'float32', 'Of the computation.')
  flags.DEFINE_bool('cpu_time', False, 'Count processor seconds.')


def timed(function, *args):
  """Returns the seconds of one call."""
  clock = time.process_time if flags.FLAGS.cpu_time else time.perf_counter
  start = clock()
  jax.block_until_ready(function(*args))
  return clock() - start


def measure(function, *args):
  """Returns seconds of each run, of each product, and to compile."""
  square = jax.random.normal(jax.random.key(0), (PRODUCT, PRODUCT))
  product = jax.jit(jnp.matmul)
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  compile_s = time.perf_counter() - start
  runs, products = [], []
  for _ in range(flags.FLAGS.runs + 1):  # The first run allocates memory.
    runs.append(timed(compiled, *args))
    products += [timed(product, square, square) for _ in range(5)]
  return runs[1:], products[5:], compile_s


def row(name, flops, runs, products, compile_s):
  """Returns the cells of one row of the table."""
  seconds = statistics.median(runs)
  rate = flops * flags.FLAGS.batch / seconds
  peak = 2 * PRODUCT**3 / statistics.median(products)
  return [
    name,
    str(flags.FLAGS.batch),
    f'{seconds:.3f} ({min(runs):.3f}..{max(runs):.3f})',
    f'{compile_s:.1f}',
    f'{flops * flags.FLAGS.batch / 1e9:.0f}',
    f'{rate / 1e9:.0f}',
    f'{peak / 1e9:.0f}',
    f'{rate / peak:.0%}',
    f'{len(os.sched_getaffinity(0))} x {jax.devices()[0].device_kind}',
    f'jax {jax.__version__}, Python {platform.python_version()}',
  ]


def main(_):
  model = image_tokenizer.make(flags.FLAGS.modality).clone(
    stacked=flags.FLAGS.stacked, dtype=jnp.dtype(flags.FLAGS.dtype)
  )
  size = flags.FLAGS.image_size
  images = jax.random.normal(
    jax.random.key(1), (flags.FLAGS.batch, size, size, model.channels)
  )
  steps = jnp.full(flags.FLAGS.batch, 500)
  params = jax.jit(model.init)(jax.random.key(0), images, images, steps)
  encode = functools.partial(model.apply, method='encode')
  denoise = functools.partial(model.apply, method='denoise')
  side = size // image_tokenizer.PATCH
  codes = jnp.full((flags.FLAGS.batch, side, side, len(model.levels)), 0.5)
  rows = [
    row(
      'encode',
      tokenizer_costs.encoding_flops(model, size, size),
      *measure(encode, params, images),
    ),
    row(
      'UNet step',
      tokenizer_costs.denoising_flops(model, size, size),
      *measure(denoise, params, images, steps, codes),
    ),
  ]
  header = [
    'what',
    'batch',
    's (min..max)',
    'compile s',
    'GFLOP',
    'GFLOP/s',
    'product GFLOP/s',
    'share',
    'device',
    'versions',
  ]
  for cells in [header, ['---'] * len(header), *rows]:
    print('| ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
  define_flags()
  app.run(main)
