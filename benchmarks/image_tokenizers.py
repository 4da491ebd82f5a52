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

_MODALITY = flags.DEFINE_string('modality', 'S2L2A', 'What is tokenised.')
_SIZE = flags.DEFINE_integer('image_size', 224, 'Pixels a side.')
_BATCH = flags.DEFINE_integer('batch', 1, 'Images.')
_RUNS = flags.DEFINE_integer('runs', 7, 'Timed runs; the median counts.')
_STACKED = flags.DEFINE_bool('stacked', False, 'Loop over stacked blocks.')
_DTYPE = flags.DEFINE_string('dtype', 'float32', 'Of the computation.')
_CPU_TIME = flags.DEFINE_bool('cpu_time', False, 'Count processor seconds.')


def timed(function, *args):
  """Returns the seconds of one call."""
  clock = time.process_time if _CPU_TIME.value else time.perf_counter
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
  for _ in range(_RUNS.value + 1):  # The first run allocates memory.
    runs.append(timed(compiled, *args))
    products += [timed(product, square, square) for _ in range(5)]
  return runs[1:], products[5:], compile_s


def row(name, flops, runs, products, compile_s):
  """Returns the cells of one row of the table."""
  seconds = statistics.median(runs)
  rate = flops * _BATCH.value / seconds
  peak = 2 * PRODUCT**3 / statistics.median(products)
  return [
    name,
    str(_BATCH.value),
    f'{seconds:.3f} ({min(runs):.3f}..{max(runs):.3f})',
    f'{compile_s:.1f}',
    f'{flops * _BATCH.value / 1e9:.0f}',
    f'{rate / 1e9:.0f}',
    f'{peak / 1e9:.0f}',
    f'{rate / peak:.0%}',
    f'{len(os.sched_getaffinity(0))} x {jax.devices()[0].device_kind}',
    f'jax {jax.__version__}, Python {platform.python_version()}',
  ]


def main(_):
  model = image_tokenizer.make(_MODALITY.value).clone(
    stacked=_STACKED.value, dtype=jnp.dtype(_DTYPE.value)
  )
  size = _SIZE.value
  images = jax.random.normal(
    jax.random.key(1), (_BATCH.value, size, size, model.channels)
  )
  steps = jnp.full(_BATCH.value, 500)
  params = jax.jit(model.init)(jax.random.key(0), images, images, steps)
  encode = functools.partial(model.apply, method='encode')
  denoise = functools.partial(model.apply, method='denoise')
  side = size // image_tokenizer.PATCH
  codes = jnp.full((_BATCH.value, side, side, len(model.levels)), 0.5)
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
  app.run(main)
