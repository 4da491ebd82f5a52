r"""Times KV-cached decoding against re-running the decoder on the prefix.

  python -m benchmarks.decode [--size=base] [--batch=8] [--tokens=60]

Both decoders are jitted, encode once and draw greedily in float32; the other
one runs the whole prefix, of static length, for every token. Prints a Markdown
table of one row; processor seconds stand beside the clock's, which other
processes on the machine lengthen.
"""

import functools
import os
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from fusion_jax import modalities
from fusion_jax.configs import pretrain
from fusion_jax.generation import sequences
from fusion_jax.models import backbone as backbone_lib

RAW, TARGET = 'untok_sen2l2a@224', 't2m_hourly'  # 196 tokens of context.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_enum('size', 'base', sorted(pretrain.SIZES), 'Model size.')
  flags.DEFINE_integer('batch', 8, 'Sequences decoded together.')
  flags.DEFINE_integer('tokens', 60, 'Tokens a sequence.')
  flags.DEFINE_integer('repeats', 3, 'Runs; the median counts.')


def without_cache(backbone, params, slots, *, length):
  """Greedy codes [B, length]; every token runs the decoder on all of them."""
  variables = {'params': params}
  index = [m.name for m in backbone.modalities].index(TARGET)
  allowed = sequences.series_codes(backbone.modalities[index])
  encoded = backbone.apply(variables, slots, method='encode')
  table = backbone.output_tables(params)[TARGET]
  ones = jnp.ones((len(slots['code']), length), jnp.int32)
  targets = {
    'modality': index * ones,
    'attention': ones,
    'position': ones * jnp.arange(length)[None],
  }

  def append(i, codes):
    tokens = backbone.apply(
      variables, *encoded, targets | {'code': codes[:, :-1]}, method='decode'
    )
    token = jax.lax.dynamic_index_in_dim(tokens, i, axis=1, keepdims=False)
    logits = jnp.where(allowed[None], token @ table.T, -jnp.inf)
    code = logits.argmax(-1).astype(jnp.int32)
    return jax.lax.dynamic_update_index_in_dim(codes, code, i + 1, axis=1)

  codes = jnp.zeros((len(ones), length + 1), jnp.int32)
  codes = codes.at[:, 0].set(sequences.FIRST)
  return jax.lax.fori_loop(0, length, append, codes)[:, 1:]


def with_cache(backbone, params, slots, *, length):
  """Draws the same codes [B, length], one token at a time."""
  index = [m.name for m in backbone.modalities].index(TARGET)
  allowed = sequences.series_codes(backbone.modalities[index])
  return sequences.decode(
    backbone,
    params,
    slots,
    jax.random.key(0),
    sequences.Target(index, length, allowed=allowed),
    sampling=sequences.GREEDY,
  )


def image_slots(backbone, batch_size):
  """Slots of the encoder that show the image alone, 196 patches of noise."""
  slots = {
    key: np.zeros((batch_size, 196), np.int32) for key in ('modality', 'code')
  }
  slots['modality'] += [m.name for m in backbone.modalities].index(RAW)
  slots['position'] = slots['code'] + np.arange(196, dtype=np.int32)
  patches = np.random.default_rng(0).normal(size=(batch_size, 196, 256 * 12))
  slots['patches'] = {RAW: patches.astype(np.float32)}
  return slots


def init(backbone, slots):
  """Fresh parameters of a backbone."""
  targets = {
    key: np.zeros((len(slots['code']), 4), np.int32)
    for key in ('modality', 'position', 'code', 'attention')
  }
  return jax.jit(backbone.init)(
    jax.random.key(0), {'encoder': slots, 'decoder': targets}
  )['params']


def measure(function, *args):
  """Returns the result, and seconds to compile, per run and of processors."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  compile_s, times = time.perf_counter() - start, []
  for _ in range(flags.FLAGS.repeats):
    start = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(compiled(*args))
    times.append(
      (time.perf_counter() - start[0], time.process_time() - start[1])
    )
  return np.asarray(result), compile_s, *np.median(times, axis=0)


def cells(compile_s, wall_s, cpu_s):
  """Formats seconds, tokens/s, processor seconds and seconds to compile."""
  rate = flags.FLAGS.batch * flags.FLAGS.tokens / wall_s
  return (
    f'{wall_s:.2f} s, {rate:.1f} tokens/s | {cpu_s:.1f} s | {compile_s:.1f} s'
  )


def main(_):
  backbone = backbone_lib.Backbone(
    modalities.select([RAW, TARGET]), **pretrain.SIZES[flags.FLAGS.size]
  )
  slots = image_slots(backbone, flags.FLAGS.batch)
  params = init(backbone, slots)
  slots = jax.device_put(slots)

  cached, *cached_s = measure(
    functools.partial(with_cache, backbone, length=flags.FLAGS.tokens),
    params,
    slots,
  )
  plain, *plain_s = measure(
    functools.partial(without_cache, backbone, length=flags.FLAGS.tokens),
    params,
    slots,
  )
  header = [
    'size',
    'batch x tokens',
    'cached',
    'its CPU',
    'its compile',
    'prefix',
    'its CPU',
    'its compile',
    'ratio',
    'ratio of CPU',
    'same tokens',
    'device',
    'versions',
  ]
  row = [
    flags.FLAGS.size,
    f'{flags.FLAGS.batch} x {flags.FLAGS.tokens}',
    cells(*cached_s),
    cells(*plain_s),
    f'{plain_s[1] / cached_s[1]:.1f}',
    f'{plain_s[2] / cached_s[2]:.1f}',
    f'{(cached == plain).mean():.1%}',
    f'{os.cpu_count()} x {jax.devices()[0].device_kind} {platform.machine()}',
    f'Python {platform.python_version()}, jax {jax.__version__}',
  ]
  for line in header, ['---'] * len(header), row:
    print('| ' + ' | '.join(line) + ' |')


if __name__ == '__main__':
  define_flags()
  app.run(main)
