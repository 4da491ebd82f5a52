r"""Times the models beside the same models in PyTorch, in turns, on a CPU.

  GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python -m benchmarks.beside_torch
  python -m benchmarks.beside_torch --rows='encoder.*' --rounds=3

Each side of a row lives in a process of its own, with the same environment and
a thread a core; the two take turns, A B A B, and the other one sleeps. Rows
whose two sides do not fit into memory together (`apart`) run one after the
other. A ratio above 1 says that ours is faster: the median of the ratios of
neighbouring runs, their range, and the ratio of processor seconds, which other
processes on the machine disturb less. Float32, random weights and inputs of
the same shapes; that both sides compute the same is shown in
tests/benchmarks/test_torch_models.py. Needs torch, for this only.
"""

import functools
import os
import re
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import decode, pixels, train_step
from fusion_jax import modalities
from fusion_jax.configs import pretrain
from fusion_jax.generation import sequences
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.models import encoder as encoder_lib
from fusion_jax.models import image_tokenizer
from fusion_jax.train import optim, rng, step
from fusion_jax.train import state as state_lib

TOKENS = 60  # Of a decoded series.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_string('rows', '.*', 'Regular expression of the names of rows.')
  flags.DEFINE_integer('rounds', 7, 'Timed runs of each side.')
  flags.DEFINE_string('side', '', "'ours' or 'torch': the process of one side.")


def noise(*shape):
  """Standard normal float32 values."""
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def backbone_of(size, names, **options):
  """Our backbone of a published size."""
  return backbone_lib.Backbone(
    modalities.select(names), **pretrain.SIZES[size], **options
  )


def torch_backbone(size, names):
  """The backbone in PyTorch."""
  from benchmarks import torch_models

  return torch_models.Backbone(modalities.select(names), **pretrain.SIZES[size])


# A row has two functions that make the run of one side, a function without
# arguments that ends when the result is there.


class Product:
  """A matrix product, the yardstick."""

  def ours(self):
    """The run of our side."""
    square = jnp.asarray(noise(2048, 2048))
    product = jax.jit(jnp.matmul)
    return lambda: product(square, square).block_until_ready()

  def torch(self):
    """The run of PyTorch."""
    import torch

    square = torch.from_numpy(noise(2048, 2048))
    return lambda: square @ square


class Training:
  """A pretraining step: loss, gradients, clipping, AdamW."""

  names = [*pretrain.IMAGE, *pretrain.TOKENISED, 'coords']

  def __init__(self, size, batch):
    self.size, self.batch = size, batch

  def ours(self):
    """The run of our side."""
    backbone = backbone_of(self.size, self.names)
    batch = train_step.make_batch(backbone.modalities, self.batch)
    tx, _ = optim.make(pretrain.get_config().optimizer, num_steps=10_000)
    init = jax.jit(
      lambda: state_lib.create(
        backbone.init(rng.key_for(0, 'init', 0), batch)['params'], {}, tx
      )
    )
    state, batch = init(), jax.device_put(batch)
    train = jax.jit(
      step.make_train_step(train_step.make_task(backbone), tx, 0),
      donate_argnums=0,
    )

    def run():
      nonlocal state
      state, metrics = train(state, batch)
      jax.block_until_ready((state, metrics))

    return run

  def torch(self):
    """The run of PyTorch."""
    from benchmarks import torch_models

    model = torch_backbone(self.size, self.names)
    batch = train_step.make_batch(model.modalities, self.batch)
    batch = torch_models.batch_of(batch, model)
    train = torch_models.training(model, torch_models.loss)
    return lambda: train(batch).item()


class Encoder:
  """Features of whole S2L2A images of 224 x 224 pixels."""

  def __init__(self, size, batch):
    settings = dict(pretrain.SIZES[size])
    settings.pop('decoder_depth')
    depth = settings.pop('encoder_depth')
    self.settings = dict(settings, depth=depth)
    self.images = noise(batch, 224, 224, 12)
    self.modality = modalities.select([decode.RAW])[0]

  def ours(self):
    """The run of our side."""
    model = encoder_lib.Encoder((self.modality,), **self.settings)
    images = {self.modality.name: jnp.asarray(self.images)}
    params = jax.jit(model.init)(jax.random.key(0), images)
    run = jax.jit(lambda params, images: model.apply(params, images)[-1])
    return lambda: run(params, images).block_until_ready()

  def torch(self):
    """The run of PyTorch."""
    import torch

    from benchmarks import torch_models

    model = torch_models.Encoder(self.modality, **self.settings).eval()
    images = torch.from_numpy(self.images)
    return torch.inference_mode()(lambda: model(images))


class Tokenizer:
  """One half of the image tokenizer S2L2A: 'encode', or a 'UNet step'."""

  def __init__(self, half):
    self.half, self.model = half, image_tokenizer.make('S2L2A')
    self.model = self.model.clone(stacked=False)

  def ours(self):
    """The run of our side."""
    images = jnp.asarray(noise(1, 224, 224, 12))
    steps, codes = jnp.full(1, 500), jnp.full((1, 14, 14, 5), 0.5)
    params = jax.jit(self.model.init)(jax.random.key(0), images, images, steps)
    method = 'encode' if self.half == 'encode' else 'denoise'
    run = jax.jit(functools.partial(self.model.apply, method=method))
    arguments = (images,) if self.half == 'encode' else (images, steps, codes)
    return lambda: run(params, *arguments).block_until_ready()

  def torch(self):
    """The run of PyTorch."""
    import torch

    from benchmarks import torch_models

    model = torch_models.Tokenizer().eval()
    images = torch.from_numpy(noise(1, 12, 224, 224))
    steps, codes = torch.full((1,), 500), torch.full((1, 5, 14, 14), 0.5)

    @torch.inference_mode()
    def run():
      if self.half == 'encode':
        return model.encode(images)
      return model(images, steps, codes)

    return run


class Pixels:
  """Vectors of pixel years, or training steps on them."""

  def __init__(self, batch, training=False):
    self.batch, self.training = batch, training
    random = np.random.default_rng(0)
    self.pixels = random.random((batch, 12, 10), np.float32)
    targets = random.normal(size=(2048, 512)).astype(np.float32)
    self.targets = targets / np.linalg.norm(targets, axis=1, keepdims=True)
    self.chosen = random.integers(0, len(targets), batch)

  def ours(self):
    """The run of our side."""
    from benchmarks import torch_encoder
    from fusion_jax.convert import timesenclip

    encoder, params = timesenclip.from_torch(
      torch_encoder.state(torch_encoder.Encoder())
    )
    encoder = encoder.clone(unroll=6 if self.training else 1)
    if self.training:
      run = pixels.our_steps(encoder, params, self.targets)
      return lambda: run(self.pixels, self.chosen)
    run = pixels.our_vectors(encoder, params)
    return lambda: run(self.pixels).block_until_ready()

  def torch(self):
    """The run of PyTorch."""
    from benchmarks import torch_encoder

    encoder = torch_encoder.Encoder()
    if self.training:
      run = torch_encoder.training(encoder, self.targets)
      return lambda: run(self.pixels, self.chosen)
    run = torch_encoder.inference(encoder)
    return lambda: run(self.pixels)


class Decoding:
  """Sixty greedy tokens of temperature from one image."""

  names = [decode.RAW, decode.TARGET]

  def __init__(self, size, batch, cached):
    self.size, self.batch, self.cached = size, batch, cached
    position = np.tile(np.arange(196, dtype=np.int32), (batch, 1))
    names = [m.name for m in modalities.select(self.names)]
    self.index = names.index(decode.TARGET)
    self.slots = {
      'modality': np.full_like(position, names.index(decode.RAW)),
      'position': position,
      'code': np.zeros_like(position),
      'patches': {decode.RAW: noise(batch, 196, 256 * 12)},
    }

  def ours(self):
    """The run of our side, which always keeps keys and values."""
    backbone = backbone_of(self.size, self.names)
    names = ('modality', 'position', 'code', 'attention')
    targets = {key: np.zeros((self.batch, 4), np.int32) for key in names}
    batch = {'encoder': self.slots, 'decoder': targets}
    params = jax.jit(backbone.init)(jax.random.key(0), batch)['params']
    run = jax.jit(functools.partial(decode.with_cache, backbone, length=TOKENS))
    slots = jax.device_put(self.slots)
    return lambda: run(params, slots).block_until_ready()

  def torch(self):
    """The run of PyTorch, with keys and values kept or not."""
    import torch

    from benchmarks import torch_models

    model = torch_backbone(self.size, self.names).eval()
    slots = {
      key: torch.from_numpy(x).long()
      for key, x in self.slots.items()
      if key != 'patches'
    }
    patches = {k: torch.from_numpy(x) for k, x in self.slots['patches'].items()}
    codes = sequences.series_codes(model.modalities[self.index])
    run = torch_models.decode_plain
    if self.cached:
      run = torch_models.decode_cached
    return lambda: run(
      model,
      {**slots, 'patches': patches},
      self.index,
      sequences.FIRST,
      TOKENS,
      torch.from_numpy(np.array(codes)),
    )


# {name: (row, whether its sides run apart)}.
ROWS = {
  'product 2048^3': (Product, False),
  'encoder base, 1 image': (lambda: Encoder('base', 1), False),
  'encoder base, 8 images': (lambda: Encoder('base', 8), False),
  'encoder tiny, 1 image': (lambda: Encoder('tiny', 1), False),
  'training tiny, 8 examples': (lambda: Training('tiny', 8), False),
  'training base, 8 examples': (lambda: Training('base', 8), True),
  'tokenizer encode, 1 image': (lambda: Tokenizer('encode'), False),
  'tokenizer UNet step, 1 image': (lambda: Tokenizer('UNet step'), False),
  'pixel encoder, 256 pixels': (lambda: Pixels(256), False),
  'pixel encoder, 1024 pixels': (lambda: Pixels(1024), False),
  'pixel training, 256 pixels': (lambda: Pixels(256, training=True), False),
  'decoding tiny, 32 series, torch with a cache': (
    lambda: Decoding('tiny', 32, cached=True),
    False,
  ),
  'decoding tiny, 32 series, torch without a cache': (
    lambda: Decoding('tiny', 32, cached=False),
    False,
  ),
  'decoding base, 32 series, torch without a cache': (
    lambda: Decoding('base', 32, cached=False),
    True,
  ),
}


class Side:
  """The process of one side of a row."""

  def __init__(self, side, name):
    environment = dict(os.environ, JAX_NUM_CPU_DEVICES='1')
    if name.startswith('pixel'):  # As training and maps do.
      environment['JAX_NUM_CPU_DEVICES'] = str(os.cpu_count())
    self._process = subprocess.Popen(
      [
        sys.executable,
        '-m',
        'benchmarks.beside_torch',
        f'--side={side}',
        f'--rows={re.escape(name)}',
      ],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      env=environment,
    )
    self.run()  # This compiles and allocates memory.
    self.run()

  def run(self):
    """Runs once; returns seconds of the clock and of processors."""
    self._process.stdin.write('run\n')
    self._process.stdin.flush()
    line = self._process.stdout.readline()
    if not line:
      raise RuntimeError('The process of a side ended; see its error above.')
    return np.array(line.split(), float)

  def close(self):
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()


def serve(side, name):
  """Runs one side once for every line of the input."""
  if side == 'torch':
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
  run = getattr(ROWS[name][0](), side)()
  for _ in sys.stdin:
    start = time.perf_counter(), time.process_time()
    run()
    print(
      time.perf_counter() - start[0], time.process_time() - start[1], flush=True
    )


def compare(name, apart, rounds):
  """Returns seconds [rounds, side, clock or processor]."""
  if apart:
    columns = []
    for side in ('ours', 'torch'):
      process = Side(side, name)
      columns.append([process.run() for _ in range(rounds)])
      process.close()
    return np.swapaxes(columns, 0, 1)
  sides = [Side(side, name) for side in ('ours', 'torch')]
  seconds = [[side.run() for side in sides] for _ in range(rounds)]
  for side in sides:
    side.close()
  return np.array(seconds)


def main(_):
  pattern = re.compile(flags.FLAGS.rows)
  names = [name for name in ROWS if pattern.fullmatch(name)]
  if flags.FLAGS.side:
    serve(flags.FLAGS.side, *names)
    return
  import torch

  print(
    f'{pixels.machine()}, torch {torch.__version__}, GLIBC_TUNABLES='
    f'{os.environ.get("GLIBC_TUNABLES", "")}\n'
  )
  print('| row | torch s | ours s | ratio (range) | of processors | load |')
  print('| --- | --- | --- | --- | --- | --- |')
  for name in names:
    rounds = flags.FLAGS.rounds
    apart = ROWS[name][1]
    seconds = compare(name, apart, min(rounds, 3) if apart else rounds)
    ours, torchs = np.median(seconds[..., 0], 0)
    ratios = seconds[:, 1, 0] / seconds[:, 0, 0]
    used = statistics.median(seconds[:, 1, 1] / seconds[:, 0, 1])
    print(
      f'| {name} | {torchs:.3g} | {ours:.3g} | **{np.median(ratios):.2f}** '
      f'({ratios.min():.2f}..{ratios.max():.2f}) | {used:.2f} | '
      f'{os.getloadavg()[0]:.1f} |',
      flush=True,
    )


if __name__ == '__main__':
  define_flags()
  app.run(main)
