r"""Times the pixel encoder against PyTorch, and maps against the encoder.

  JAX_NUM_CPU_DEVICES=2 python -m benchmarks.pixels --part=encoder
  JAX_NUM_CPU_DEVICES=2 python -m benchmarks.pixels --part=training --unroll=6
  python -m benchmarks.pixels --part=map
  python -m benchmarks.pixels --part=memory

encoder, training: 1 x 1 pixels in float32, the same weights in
`nn.TransformerEncoder`, eval and inference mode with its fast path, on as many
threads; each side at its best batch, then in turns, medians. Ours runs on all
devices, as training and maps do: two virtual ones on two cores. map: write_map
on 256 x 256 pixels of a NetCDF file, compilation included, against the bare
encoder at its best batch. memory: a process that maps 2,000 x 2,000 x 12 from a
file with a narrow encoder. Ratios of processor time stand beside those of the
clock, which other processes on the machine disturb. torch is needed for the
first two only.
"""

import functools
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from absl import app, flags

from fusion_jax.assembly import pixel_layout
from fusion_jax.configs import align_pixels
from fusion_jax.inference import pixel_model
from fusion_jax.mapping import classify, open_cube, scene
from fusion_jax.models import pixel_costs, pixel_encoder
from fusion_jax.ops import contrastive
from fusion_jax.train import sharding, speed

NARROW = dict(width=32, depth=1, num_heads=2, hidden=32)
_TARGETS = 2048  # Number of vectors among which a pixel has to find its own.


def define_flags():
  """Defines the flags of the command; importing this file defines none."""
  flags.DEFINE_enum(
    'part',
    'encoder',
    ['encoder', 'training', 'map', 'memory', 'mapper'],
    'What to time; mapper is the process of memory.',
  )
  flags.DEFINE_integer('pixels', 4096, 'Pixels a run.')
  flags.DEFINE_integer('repeats', 9, 'Runs; the median counts.')
  flags.DEFINE_list(
    'batches',
    ['64', '128', '256', '512', '1024', '2048', '4096'],
    'Batches, of which each side takes its best.',
  )
  flags.DEFINE_integer('side', 0, 'Pixels a side of map and memory.')
  flags.DEFINE_integer('unroll', 1, 'Layers a turn of our loop.')
  flags.DEFINE_string('folder', '', 'Of mapper.')


def clocks(function):
  """Returns seconds of the clock and of processors that a call takes."""
  start = time.perf_counter(), time.process_time()
  function()
  return np.array(
    [time.perf_counter() - start[0], time.process_time() - start[1]]
  )


def best_batch(make_run):
  """Returns (batch, run) of the fastest batch; each run takes all pixels."""
  timings = []
  for batch in map(int, flags.FLAGS.batches):
    run = make_run(batch)
    run()  # This compiles and allocates memory.
    seconds = min(clocks(run)[0] for _ in range(2))
    timings.append((seconds, batch, run))
  return min(timings, key=lambda x: x[0])[1:]


def in_turns(*runs):
  """Runs functions in turns; returns median seconds (clock, processor)."""
  seconds = [[clocks(run) for run in runs] for _ in range(flags.FLAGS.repeats)]
  return np.median(seconds, axis=0)


def against_torch(training):
  """Prints the row of one of the first two parts."""
  import torch

  from benchmarks import torch_encoder
  from fusion_jax.convert import timesenclip

  torch.manual_seed(0)
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  theirs = torch_encoder.Encoder()
  encoder, params = timesenclip.from_torch(torch_encoder.state(theirs))
  encoder = encoder.clone(unroll=flags.FLAGS.unroll)
  rng = np.random.default_rng(0)
  pixels = rng.random((flags.FLAGS.pixels, 12, 10), np.float32)
  targets = np.array(
    contrastive.normalise(rng.normal(size=(_TARGETS, 512)).astype(np.float32))
  )
  chosen = rng.integers(0, _TARGETS, flags.FLAGS.pixels)
  if training:
    run_jax = our_steps(encoder, params, targets)
    run_torch = torch_encoder.training(theirs, targets)
    arrays = pixels, chosen
  else:
    run_jax = our_vectors(encoder, params)
    run_torch = torch_encoder.inference(theirs)
    arrays = (pixels,)
    difference = np.abs(run_jax(pixels[:64]) - run_torch(pixels[:64])).max()
    print(f'Largest difference of outputs: {difference:.1e}')

  def over(function):
    def make(batch):
      def run():
        results = [
          function(*(x[i : i + batch] for x in arrays))
          for i in range(0, flags.FLAGS.pixels, batch)
        ]
        jax.block_until_ready(results)

      return run

    return make

  (our_batch, ours), (their_batch, torchs) = map(
    best_batch, (over(run_jax), over(run_torch))
  )
  rates = []
  (our_s, their_s, _) = in_turns(
    ours, torchs, lambda: rates.append(speed.measure_product(repeats=3))
  )
  flops = (3 if training else 1) * 2 * pixel_costs.macs(encoder, whole=False)
  product = statistics.median(rates)
  reached = flops * flags.FLAGS.pixels / our_s[0]
  table(
    [
      'part',
      'our pixels/s',
      'batch',
      'torch pixels/s',
      'batch',
      'ratio',
      'ratio of CPU',
      'GFLOP/s',
      'product GFLOP/s',
      'share',
      'machine',
    ],
    [
      flags.FLAGS.part,
      f'{flags.FLAGS.pixels / our_s[0]:.0f}',
      our_batch,
      f'{flags.FLAGS.pixels / their_s[0]:.0f}',
      their_batch,
      f'{their_s[0] / our_s[0]:.2f}',
      f'{their_s[1] / our_s[1]:.2f}',
      f'{reached / 1e9:.0f}',
      f'{product / 1e9:.0f}',
      f'{reached / product:.0%}',
      f'{machine()}, torch {torch.__version__}',
    ],
  )


def our_vectors(encoder, params):
  """Returns a function from pixels [B, 12, C] to vectors, on all devices."""
  whole, split = placements()
  params = jax.device_put(params, whole)
  run = jax.jit(
    lambda params, pixels: encoder.apply(
      {'params': params}, pixels[..., None, None]
    ),
    in_shardings=(whole, split),
    out_shardings=split,
  )
  return lambda pixels: run(params, pixels)


def our_steps(encoder, params, targets):
  """Returns a training step of (pixels, chosen), on all devices."""
  whole, split = placements()
  tx = optax.adamw(1e-4, weight_decay=0.01)
  state = jax.device_put((params, tx.init(params), jnp.int32(0)), whole)

  def loss(params, pixels, chosen, key):
    vectors = contrastive.normalise(
      encoder.apply(
        {'params': params},
        pixels[..., None, None],
        train=True,
        rngs={'dropout': key},
      )
    )
    return optax.softmax_cross_entropy_with_integer_labels(
      vectors @ targets.T / 0.07, chosen
    ).mean()

  @functools.partial(
    jax.jit,
    donate_argnums=0,
    in_shardings=(whole, split, split),
    out_shardings=whole,
  )
  def step(state, pixels, chosen):
    params, opt_state, count = state
    key = jax.random.fold_in(jax.random.key(0), count)
    value, grads = jax.value_and_grad(loss)(params, pixels, chosen, key)
    updates, opt_state = tx.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state, count + 1), value

  def run(pixels, chosen):
    nonlocal state
    state, value = step(state, pixels, chosen)
    return float(value)  # As torch's loss.item().

  return run


def placements():
  """Returns the shardings of replicated arrays and of a batch."""
  mesh = sharding.make_mesh()
  return sharding.replicated(mesh), sharding.batch_sharding(mesh)


def model_of(sizes):
  """Returns an untrained `PixelModel` and its classes."""
  config = ml_collections.ConfigDict(
    {
      'task': 'pixel_encoder',
      'scaling': 'published',
      'missing_bands': (),
      'model': dict(
        sizes,
        output_width=512,
        num_bands=10,
        side=1,
        activation='relu',
        dropout=0.2,
        single='mean',
        kept='own',
        factored_first_layer='auto',
        dtype='float32',
        unroll=flags.FLAGS.unroll,
      ),
    }
  )
  params = jax.jit(
    lambda: pixel_encoder.init(
      pixel_layout.make(config.model), jax.random.key(0)
    )
  )()
  model = pixel_model.PixelModel(config, {'encoder': params}, {})
  vectors = np.random.default_rng(1).normal(size=(8, 512)).astype(np.float32)
  return model, classify.Classes(tuple('abcdefgh'), vectors)


def write_cube(path, side):
  """Writes a NetCDF file of 12 x side x side uint16 per band, in chunks."""
  from h5netcdf import legacyapi

  rng = np.random.default_rng(0)
  with legacyapi.Dataset(path, 'w') as file:
    for name, size in ('t', 12), ('y', side), ('x', side):
      file.createDimension(name, size)
    file.createVariable('crs', 'i4').spatial_ref = 'EPSG:32631'
    times = file.createVariable('t', 'i4', ('t',))
    times.units = 'days since 2021-01-01'
    times[:] = 30 * np.arange(12)
    file.createVariable('y', 'f8', ('y',))[:] = 5_000_000 - 10.0 * np.arange(
      side
    )
    file.createVariable('x', 'f8', ('x',))[:] = 10.0 * np.arange(side)
    chunk = min(256, side)
    for band in open_cube.cube_lib.bands_lib.BANDS:
      values = file.createVariable(
        band, 'u2', ('t', 'y', 'x'), chunksizes=(1, chunk, chunk)
      )
      for month in range(12):
        values[month] = rng.integers(100, 5_000, (side, side), np.uint16)


def time_map():
  """Prints the row of `map`."""
  side = flags.FLAGS.side or 256
  model, classes = model_of(align_pixels.SIZES['paper'] | {'unroll': 1})
  pixels = np.random.default_rng(0).random(
    (flags.FLAGS.pixels, 12, 10), np.float32
  )
  encode = our_vectors(model.encoder, model.params['encoder'])

  def over(batch):
    return lambda: jax.block_until_ready(
      [encode(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
    )

  batch, bare = best_batch(over)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    write_cube(folder / 'cube.nc', side)
    mapped, encoded = [], [clocks(bare)]
    for _ in range(max(1, flags.FLAGS.repeats // 3)):
      mapped.append(
        clocks(
          lambda: scene.write_map(
            open_cube.open_cube([folder / 'cube.nc']),
            classify.Classifier(model, classes),
            folder / 'map.tif',
            overwrite=True,
          )
        )
      )
      encoded += [clocks(bare) for _ in range(3)]
  map_rate, map_cpu = side**2 / np.median(mapped, axis=0)
  rate, cpu = flags.FLAGS.pixels / np.median(encoded, axis=0)
  table(
    [
      'part',
      'map pixels/s',
      'encoder pixels/s',
      'batch',
      'share',
      'share by CPU',
      'machine',
    ],
    [
      'map',
      f'{map_rate:.0f}',
      f'{rate:.0f}',
      batch,
      f'{map_rate / rate:.0%}',
      f'{map_cpu / cpu:.0%}',
      machine(),
    ],
  )


def measure_memory():
  """Prints the row of `memory`; the map is made in a process of its own."""
  with tempfile.TemporaryDirectory() as folder:
    write_cube(pathlib.Path(folder) / 'cube.nc', flags.FLAGS.side or 2000)
    result = subprocess.run(
      [
        sys.executable,
        '-m',
        'benchmarks.pixels',
        '--part=mapper',
        f'--folder={folder}',
      ],
      check=True,
      capture_output=True,
      text=True,
    )
  print(result.stdout)


def run_mapper():
  """Maps the cube of a folder, and prints time and memory."""
  folder = pathlib.Path(flags.FLAGS.folder)
  model, classes = model_of(NARROW)
  cube = open_cube.open_cube([folder / 'cube.nc'])
  seconds, _ = clocks(
    lambda: scene.write_map(
      cube,
      classify.Classifier(model, classes, batch_size=1024),
      folder / 'map.tif',
    )
  )
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  table(
    ['part', 'scene', 'peak GiB', 'seconds', 'pixels/s', 'machine'],
    [
      'memory',
      f'{cube.shape[0]} x {cube.shape[1]} x 12',
      f'{peak:.2f}',
      f'{seconds:.0f}',
      f'{np.prod(cube.shape) / seconds:.0f}',
      machine(),
    ],
  )


def machine():
  """Describes the machine."""
  return (
    f'{os.cpu_count()} x {platform.machine()}, {jax.device_count()} x '
    f'{jax.devices()[0].device_kind}, jax {jax.__version__}, Python '
    f'{platform.python_version()}'
  )


def table(header, row):
  """Prints a Markdown table of one row."""
  for line in header, ['---'] * len(header), row:
    print('| ' + ' | '.join(map(str, line)) + ' |')


def main(_):
  {
    'encoder': functools.partial(against_torch, False),
    'training': functools.partial(against_torch, True),
    'map': time_map,
    'memory': measure_memory,
    'mapper': run_mapper,
  }[flags.FLAGS.part]()


if __name__ == '__main__':
  define_flags()
  app.run(main)
