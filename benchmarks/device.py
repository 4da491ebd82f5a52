r"""Times the models on an accelerator, beside PyTorch where torch is installed.

  python -m benchmarks.device                 # One GPU, at most ten minutes.
  python -m benchmarks.device --small         # Any CPU: does it run?
  python -m benchmarks.device --parts training decoding

Everything computes in bfloat16, with --small in float32, as on CPUs. Before a
part is timed beside PyTorch, both sides get the same weights, and their results
are compared; then they run in turns, medians. The share is that of a product of
8192 x 8192 x 8192 in bfloat16 measured in the same call. A part that would
start after --minutes is named and left out. torch is needed for the other side
only (`pip install torch`); without it, its cells say so. Prints Markdown: what
`benchmarks/results` keeps.
"""

import argparse
import dataclasses
import functools
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import decode, scaling_programs, train_step
from fusion_jax import modalities
from fusion_jax.configs import pretrain
from fusion_jax.convert import (
  terramind,
  terramind_tokenizers,
  timesenclip,
)
from fusion_jax.evals import efficiency
from fusion_jax.generation import sequences
from fusion_jax.models import (
  backbone as backbone_lib,
)
from fusion_jax.models import (
  costs,
  image_tokenizer,
  pixel_costs,
  tokenizer_costs,
)
from fusion_jax.ops import contrastive
from fusion_jax.train import optim, rng, state, step

HEADER = (
  'what',
  'batch',
  'ours, s (min..max)',
  'examples/s',
  'model GFLOP',
  'TFLOP/s',
  'share of product',
  'torch, s (min..max)',
  'ratio',
  'largest difference',
)
_HAS_TORCH = importlib.util.find_spec('torch') is not None


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much a part computes.

  Attributes:
    product: rows and columns of the yardstick.
    size: size of the backbone, a key of `pretrain.SIZES`.
    examples: batch of the training step.
    pixels: batch of the pixel encoder.
    sequences: batch of the decoding.
    tokens: tokens of a sequence.
    image: pixels per side of the UNet's image.
    runs: timed runs; the median counts.
    dtype: dtype of the computation.
  """

  product: int = 8192
  size: str = 'base'
  examples: int = 128
  pixels: int = 8192
  sequences: int = 256
  tokens: int = 60
  image: int = 224
  runs: int = 10
  dtype: str = 'bfloat16'


SMALL = Sizes(1024, 'demo', 2, 64, 4, 8, 64, 2, 'float32')


@dataclasses.dataclass
class Session:
  """What the parts share.

  Attributes:
    sizes: how much is computed.
    compiles: whether the other side runs under `torch.compile`.
    product_flops: FLOP/s of the yardstick.
  """

  sizes: Sizes
  compiles: bool
  product_flops: float = 0.0

  @property
  def device(self):
    """Name of torch's device."""
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'

  @property
  def dtype(self):
    """The dtype of the computation, torch's."""
    import torch

    return getattr(torch, self.sizes.dtype)

  def compile(self, function):
    """The function under `torch.compile`, unless it was switched off."""
    import torch

    return torch.compile(function) if self.compiles else function

  def timed(self, *runs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each run of functions that take turns, the first left out."""
    seconds = [[] for _ in runs]
    for _ in range(self.sizes.runs + 1):
      for row, run in zip(seconds, runs):
        start = time.perf_counter()
        run()
        row.append(time.perf_counter() - start)
    return [row[1:] for row in seconds]

  def row(self, what, batch, flops, runs, difference=None):
    """Times a part and prints its row."""
    ours, *others = self.timed(*runs)
    seconds = statistics.median(ours)
    theirs, ratio = 'waits for torch', ''
    if others:
      theirs = _seconds(others[0])
      ratio = f'{statistics.median(others[0]) / seconds:.2f}'
    rate = flops / seconds
    cells = [
      what,
      str(batch),
      _seconds(ours),
      f'{batch / seconds:.4g}',
      f'{flops / 1e9:.1f}',
      f'{rate / 1e12:.2f}',
      f'{rate / self.product_flops:.0%}',
      theirs,
      ratio,
      '' if difference is None else f'{difference:.1e}',
    ]
    print(f'| {" | ".join(cells)} |', flush=True)


def measure_product(sizes):
  """FLOP/s of the yardstick, the median of ten products."""
  x = jax.random.normal(jax.random.key(0), (sizes.product,) * 2, sizes.dtype)
  product = jax.jit(jnp.matmul)
  seconds = []
  for _ in range(11):
    start = time.perf_counter()
    product(x, x).block_until_ready()
    seconds.append(time.perf_counter() - start)
  return 2 * sizes.product**3 / statistics.median(seconds[1:])


def training(session):
  """A step of pretraining: clipping and AdamW included."""
  sizes = session.sizes
  backbone = scaling_programs.make_backbone(sizes.size, dtype=sizes.dtype)
  batch = train_step.make_batch(backbone.modalities, sizes.examples)
  tx, _ = optim.make(pretrain.get_config().optimizer, num_steps=10_000)
  params = jax.jit(backbone.init)(rng.key_for(0, 'init', 0), batch)['params']
  flops = costs.training_flops(backbone, batch)
  runs, difference = [], None
  if _HAS_TORCH:
    run, first = _torch_training(session, backbone, params, batch)
    runs.append(run)
  current = jax.jit(lambda p: state.create(p, {}, tx), donate_argnums=0)(params)
  placed = jax.device_put(batch)
  train = jax.jit(
    step.make_train_step(train_step.make_task(backbone), tx, 0),
    donate_argnums=0,
  )
  current, metrics = train(current, placed)
  if runs:
    loss = float(metrics['loss'][0] / metrics['loss'][1])
    difference = _check('loss', loss, first, 0.02)

  def ours():
    nonlocal current
    current, result = train(current, placed)
    jax.block_until_ready(result)

  session.row(
    f'{sizes.size} training step, 128 + 128 slots',
    sizes.examples,
    flops,
    [ours, *runs],
    difference,
  )


def _torch_training(session, backbone, params, batch):
  """Returns a step of the same model, and its first loss."""
  from benchmarks import torch_models

  settings = pretrain.SIZES[session.sizes.size]
  rows = terramind.backbone_table(
    backbone.modalities, use_bias=backbone.use_bias, mlp=backbone.mlp
  )
  model = torch_models.load(
    torch_models.Backbone(backbone.modalities, **settings),
    terramind.to_terramind(params, rows),
  ).to(session.device)
  _equal_parameters(model, params)
  inputs = torch_models.batch_of(batch, model, session.device)
  compute_loss = session.compile(torch_models.loss)
  train = torch_models.training(model, compute_loss, session.dtype)
  first = train(inputs).item()
  return lambda: train(inputs).item(), first


def pixels(session):
  """The pixel encoder of the paper's size, training and inference."""
  count, draw = session.sizes.pixels, np.random.default_rng(0)
  inputs = draw.random((count, 12, 10), np.float32)
  targets = np.array(
    contrastive.normalise(draw.normal(size=(2048, 512)).astype(np.float32))
  )
  chosen = draw.integers(0, len(targets), count)
  encoder = scaling_programs.build_pixels(1, count, dtype=session.sizes.dtype)[
    0
  ].encoder
  if _HAS_TORCH:
    from benchmarks import torch_encoder

    theirs = torch_encoder.Encoder()
    _, params = timesenclip.from_torch(torch_encoder.state(theirs))
    theirs = theirs.to(session.device)
    _equal_parameters(theirs, params)
  else:
    params = encoder.init(jax.random.key(0), inputs[:1, ..., None, None])
    params = params['params']
  encode = jax.jit(
    lambda params, x: encoder.apply({'params': params}, x[..., None, None])
  )
  params = jax.device_put(params)

  def ours():
    return np.asarray(encode(params, inputs).astype(jnp.float32))

  flops = count * 2 * pixel_costs.macs(encoder, whole=False)
  runs, difference = [ours], None
  if _HAS_TORCH:
    run = torch_encoder.inference(session.compile(theirs), session.dtype)
    runs.append(lambda: run(inputs))
    difference = np.abs(ours() - runs[1]()).max()
  session.row('pixel encoder, 1 x 1', count, flops, runs, difference)
  runs = [_pixel_training(encoder, params, inputs, targets, chosen)]
  if _HAS_TORCH:
    train = torch_encoder.training(
      session.compile(theirs), targets, session.dtype
    )
    runs.append(lambda: train(inputs, chosen))
  session.row('pixel encoder, training step', count, 3 * flops, runs)


def _pixel_training(encoder, params, inputs, targets, chosen):
  """Returns a step of the pixel encoder that finds its own of the targets."""
  tx = optax.adamw(1e-4, weight_decay=0.01)

  def loss(params, inputs, chosen, key):
    vectors = encoder.apply(
      {'params': params},
      inputs[..., None, None],
      train=True,
      rngs={'dropout': key},
    )
    vectors = contrastive.normalise(vectors.astype(jnp.float32))
    return optax.softmax_cross_entropy_with_integer_labels(
      vectors @ targets.T / 0.07, chosen
    ).mean()

  @functools.partial(jax.jit, donate_argnums=0)
  def train(current, inputs, chosen):
    params, moments, count = current
    key = jax.random.fold_in(jax.random.key(0), count)
    value, gradients = jax.value_and_grad(loss)(params, inputs, chosen, key)
    updates, moments = tx.update(gradients, moments, params)
    return (optax.apply_updates(params, updates), moments, count + 1), value

  current = jax.tree.map(jnp.array, (params, tx.init(params), jnp.int32(0)))

  def run():
    nonlocal current
    current, value = train(current, inputs, chosen)
    return float(value)

  return run


def decoding(session):
  """Tokens of hourly temperature from one image, with keys and values kept."""
  sizes = session.sizes
  settings = pretrain.SIZES[sizes.size]
  backbone = backbone_lib.Backbone(
    modalities.select([decode.RAW, decode.TARGET]),
    dtype=sizes.dtype,
    **settings,
  )
  slots = decode.image_slots(backbone, sizes.sequences)
  params = decode.init(backbone, slots)
  run = jax.jit(
    functools.partial(decode.with_cache, backbone, length=sizes.tokens)
  )
  placed = jax.device_put(slots)

  def ours():
    return np.asarray(run(params, placed))

  index = [m.name for m in backbone.modalities].index(decode.TARGET)
  runs, difference = [ours], None
  if _HAS_TORCH:
    import torch

    from benchmarks import torch_models

    rows = terramind.backbone_table(
      backbone.modalities, use_bias=backbone.use_bias, mlp=backbone.mlp
    )
    model = torch_models.load(
      torch_models.Backbone(backbone.modalities, **settings),
      terramind.to_terramind(params, rows),
    ).to(session.device)
    _equal_parameters(model, params)
    allowed = np.array(sequences.series_codes(backbone.modalities[index]))
    arguments = (
      torch_models.tensors(slots, session.device),
      index,
      sequences.FIRST,
      sizes.tokens,
      torch.from_numpy(allowed).to(session.device),
    )

    def theirs():
      with torch_models.autocast(model, session.dtype):
        return torch_models.decode_cached(model, *arguments).cpu().numpy()

    runs.append(theirs)
    difference = np.mean(ours()[:, 0] != theirs()[:, 0])
  encoder, targets = 196, sizes.tokens
  flops = 2 * sizes.sequences * costs.block_products(backbone, encoder, targets)
  session.row(
    f'{sizes.size}, {sizes.tokens} tokens from one image (difference: share of '
    'other first tokens)',
    sizes.sequences,
    flops,
    runs,
    difference,
  )


def unet(session):
  """One step of the diffusion decoder of S2L2A."""
  model = image_tokenizer.make('S2L2A').clone(dtype=session.sizes.dtype)
  side, draw = session.sizes.image, np.random.default_rng(0)
  noisy = draw.normal(size=(1, side, side, 12)).astype(np.float32)
  codes = draw.random((1, side // 16, side // 16, 5)).astype(np.float32)
  t = np.array([500])
  params = jax.jit(model.init)(jax.random.key(0), noisy, noisy, t)['params']
  params = jax.tree.map(  # Zeros of fresh weights would hide all differences.
    lambda x: x + 0.01 * draw.standard_normal(x.shape, np.float32), params
  )
  run = jax.jit(functools.partial(model.apply, method='denoise'))

  def ours():
    return np.asarray(run({'params': params}, noisy, t, codes))

  runs, difference = [ours], None
  if _HAS_TORCH:
    import torch

    from benchmarks import torch_models

    theirs = torch_models.load(
      torch_models.Tokenizer(),
      terramind_tokenizers.to_terramind(params, model),
    ).to(session.device)
    _equal_parameters(theirs, params)
    decoder = session.compile(theirs.decoder)
    images, steps, grid = (
      torch.from_numpy(x).to(session.device)
      for x in (
        np.moveaxis(noisy, -1, 1).copy(),
        t,
        np.moveaxis(codes, -1, 1).copy(),
      )
    )

    def other():
      with (
        torch.inference_mode(),
        torch_models.autocast(theirs, session.dtype),
      ):
        return np.moveaxis(
          decoder(images, steps, grid).float().cpu().numpy(), 1, -1
        )

    runs.append(other)
    difference = np.abs(ours() - other()).max()
  flops = tokenizer_costs.denoising_flops(model, side, side)
  session.row(f'UNet step, {side} x {side}', 1, flops, runs, difference)


def table7(session):
  """Latency and memory of CLIP and of the pixel encoders, in float32."""
  repeats = session.sizes.runs
  rows = [
    efficiency.of_clip(repeats=repeats),
    efficiency.of_clip_image(repeats=repeats),
    *efficiency.paper_sizes(repeats),
  ]
  print(f'\n{efficiency.table(rows)}', flush=True)


def _check(name, ours, theirs, tolerance):
  """Returns the relative difference; raises where it is no rounding error."""
  difference = abs(ours - theirs) / abs(theirs)
  if not difference < tolerance:
    raise ValueError(
      f'The {name} is {ours:.6g} here and {theirs:.6g} in torch: the models '
      'differ, their times say nothing.'
    )
  return difference


def _equal_parameters(model, params):
  """Raises unless both sides have as many parameters."""
  from benchmarks import torch_models

  ours = sum(x.size for x in jax.tree.leaves(params))
  theirs = torch_models.num_parameters(model)
  if ours != theirs:
    raise ValueError(f'{ours} parameters here, {theirs} in torch.')


def _seconds(values):
  return (
    f'{statistics.median(values):.4f} ({min(values):.4f}..{max(values):.4f})'
  )


def versions():
  """Describes the device and the versions of what ran."""
  text = (
    f'{jax.devices()[0].device_kind}, {os.cpu_count()} x {platform.machine()}; '
    f'jax {jax.__version__}, Python {platform.python_version()}'
  )
  if not _HAS_TORCH:
    return f'{text}, without torch'
  import torch

  return f'{text}, torch {torch.__version__}'


PARTS = {
  'training': training,
  'pixels': pixels,
  'decoding': decoding,
  'unet': unet,
  'table7': table7,
}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    '--small', action='store_true', help='small models: does it run?'
  )
  parser.add_argument(
    '--parts',
    nargs='+',
    choices=PARTS,
    default=list(PARTS),
    help='what to time',
  )
  parser.add_argument(
    '--minutes', type=float, default=8, help='no part starts later than this'
  )
  parser.add_argument(
    '--no-compile',
    action='store_true',
    help='run the other side without torch.compile',
  )
  arguments = parser.parse_args()
  start = time.perf_counter()
  # Both sides share the memory of the device.
  os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
  session = Session(
    SMALL if arguments.small else Sizes(), not arguments.no_compile
  )
  session.product_flops = measure_product(session.sizes)
  print(f'`python -m benchmarks.device {" ".join(sys.argv[1:])}`\n')
  print(
    f'{versions()}; product of {session.sizes.product}^3 in '
    f'{session.sizes.dtype}: {session.product_flops / 1e12:.3g} TFLOP/s\n'
  )
  print(f'| {" | ".join(HEADER)} |\n|{" --- |" * len(HEADER)}', flush=True)
  for name in arguments.parts:
    if time.perf_counter() - start > 60 * arguments.minutes:
      print(f'\nLeft out, as the minutes were over: {name}')
      continue
    PARTS[name](session)


if __name__ == '__main__':
  main()
