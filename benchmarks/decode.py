r"""Times KV-cached decoding against re-running the decoder on the prefix.

  python benchmarks/decode.py [--size=base] [--batch=8] [--tokens=60]

Both decoders are jitted, encode once and draw greedily in float32; the other
one runs the whole prefix, of static length, for every token. Prints one row of
the table in benchmarks/README.md.
"""

import functools
import platform
import time

from absl import app
from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import modalities
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.models import generate

SIZES = {
    'demo': dict(width=128, encoder_depth=3, decoder_depth=3, num_heads=4),
    'base': dict(width=768, encoder_depth=12, decoder_depth=12, num_heads=12)}
RAW, TARGET = 'untok_sen2l2a@224', 't2m_hourly'  # 196 tokens of context.

_SIZE = flags.DEFINE_enum('size', 'base', sorted(SIZES), 'Model size.')
_BATCH = flags.DEFINE_integer('batch', 8, 'Sequences decoded together.')
_TOKENS = flags.DEFINE_integer('tokens', 60, 'Tokens a sequence.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Timed runs; the median counts.')


def without_cache(backbone, params, slots, *, length):
  """Greedy codes [B, length]; every token runs the decoder on all of them."""
  variables = {'params': params}
  index = [m.name for m in backbone.modalities].index(TARGET)
  allowed = generate.series_codes(backbone.modalities[index])
  encoded = backbone.apply(variables, slots, method='encode')
  table = backbone.output_tables(params)[TARGET]
  ones = jnp.ones((len(slots['code']), length), jnp.int32)
  targets = {'modality': index * ones, 'attention': ones,
             'position': ones * jnp.arange(length)[None]}

  def append(i, codes):
    tokens = backbone.apply(variables, *encoded,
                            targets | {'code': codes[:, :-1]}, method='decode')
    token = jax.lax.dynamic_index_in_dim(tokens, i, axis=1, keepdims=False)
    logits = jnp.where(allowed[None], token @ table.T, -jnp.inf)
    code = logits.argmax(-1).astype(jnp.int32)
    return jax.lax.dynamic_update_index_in_dim(codes, code, i + 1, axis=1)

  codes = jnp.zeros((len(ones), length + 1), jnp.int32)
  codes = codes.at[:, 0].set(generate.FIRST)
  return jax.lax.fori_loop(0, length, append, codes)[:, 1:]


def with_cache(backbone, params, slots, *, length):
  """The same codes [B, length], one token at a time."""
  target = [m.name for m in backbone.modalities].index(TARGET)
  return generate.decode(
      backbone, params, slots, jax.random.key(0), target, length=length,
      sampling=generate.GREEDY,
      allowed=generate.series_codes(backbone.modalities[target]))


def measure(function, *args):
  """Result, seconds to compile, and median seconds of a run."""
  start = time.perf_counter()
  compiled = jax.jit(function).lower(*args).compile()
  compile_s = time.perf_counter() - start
  times = []
  for _ in range(_REPEATS.value + 1):  # The first touches memory.
    start = time.perf_counter()
    result = jax.block_until_ready(compiled(*args))
    times.append(time.perf_counter() - start)
  return np.asarray(result), compile_s, float(np.median(times[1:]))


def main(_):
  backbone = backbone_lib.Backbone(
      modalities.select([RAW, TARGET]), **SIZES[_SIZE.value])
  slots = {key: np.zeros((_BATCH.value, 196), np.int32)
           for key in ('modality', 'code')}
  slots['modality'] += [m.name for m in backbone.modalities].index(RAW)
  slots['position'] = slots['code'] + np.arange(196, dtype=np.int32)
  patches = np.random.default_rng(0).normal(size=(_BATCH.value, 196, 256 * 12))
  slots['patches'] = {RAW: patches.astype(np.float32)}
  targets = {key: np.zeros((_BATCH.value, 4), np.int32)
             for key in ('modality', 'position', 'code', 'attention')}
  params = jax.jit(backbone.init)(
      jax.random.key(0), {'encoder': slots, 'decoder': targets})['params']
  slots = jax.device_put(slots)

  cached, cached_compile, cached_s = measure(
      functools.partial(with_cache, backbone, length=_TOKENS.value),
      params, slots)
  plain, plain_compile, plain_s = measure(
      functools.partial(without_cache, backbone, length=_TOKENS.value),
      params, slots)
  num_codes = _BATCH.value * _TOKENS.value
  print('| size | batch | tokens | cached s (tokens/s, compile s) | prefix s '
        '(tokens/s, compile s) | ratio | same tokens | device | versions |\n'
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- |')
  print(f'| {_SIZE.value} | {_BATCH.value} | {_TOKENS.value} | {cached_s:.2f} '
        f'({num_codes / cached_s:.0f}, {cached_compile:.1f}) | {plain_s:.2f} '
        f'({num_codes / plain_s:.1f}, {plain_compile:.1f}) | '
        f'{plain_s / cached_s:.1f} | {(cached == plain).mean():.1%} | '
        f'{jax.devices()[0].device_kind} {platform.machine()} | '
        f'jax {jax.__version__} |')


if __name__ == '__main__':
  app.run(main)
