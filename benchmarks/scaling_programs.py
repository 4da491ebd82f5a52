r"""Compiles training steps for virtual CPU devices and reads what they cost.

  XLA_FLAGS=--xla_force_host_platform_device_count=2 \
      python -m benchmarks.scaling_programs pretrain:base:2:1:8

A program is TASK:SIZE:DEVICES:FSDP:EXAMPLES[:remat][:v5e], EXAMPLES on each
device, in bfloat16. With v5e, memory is that of Google's compiler for as many
TPUs v5e, which needs no TPU but `pip install libtpu`, and minutes. Prints a
line of JSON for each; `benchmarks.scaling` keeps these lines. Bytes to and from
memory are those of the operands and results of all products and convolutions,
in their dtype after the pass `spmd-partitioning`: what is left if everything
else is fused into them.
"""

import argparse
import functools
import json
import math
import os
import pathlib
import re
import tempfile
import time

import jax
import numpy as np
from jax.experimental import topologies

from benchmarks import sharding, train_step
from fusion_jax import modalities
from fusion_jax.configs import (
  align_pixels,
  image_tokenizer,
  pretrain,
  series_tokenizer,
)
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.tasks import align_pixels as align_task
from fusion_jax.tasks import classify_pixels as classify_task
from fusion_jax.tasks import image_tokenizer as image_task
from fusion_jax.tasks import series_tokenizer as series_task
from fusion_jax.train import collectives, optim

NAMES = (
  *pretrain.IMAGE,
  *pretrain.TOKENISED,
  *pretrain.COORDS,
  *pretrain.WEATHER,
)
# Moments and parameters are read and written, gradients written and read.
OPTIMIZER_BYTES = 4 * (3 + 3 + 2)
TOPOLOGIES = {1: 'v5e:1x1', 4: 'v5e:2x2', 8: 'v5e:2x4', 64: 'v5e:8x8'}
_SHAPE = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_PRODUCT = re.compile(r' (dot|convolution)\(([^)]*)\)')


def build_backbone(size, remat=False):
  """Returns task, optimizer and a batch of one example of pretraining."""
  backbone = make_backbone(size, remat)
  task = train_step.make_task(backbone)
  task.init = lambda key, batch: (backbone.init(key, batch)['params'], {})
  settings = pretrain.get_config().optimizer
  return (
    task,
    optim.make(settings, num_steps=100),
    train_step.make_batch(backbone.modalities, 1),
  )


@functools.cache
def make_backbone(size, remat=False, dtype='bfloat16'):
  """Returns the model of `configs/pretrain.py:data=terramesh`."""
  return backbone_lib.Backbone(
    modalities.select(NAMES),
    dtype=dtype,
    remat=remat,
    **pretrain.SIZES[size],
  )


@functools.cache
def targets_per_example(num_examples=32):
  """Returns how many targets a head has in an example, by its name."""
  selected = modalities.select(NAMES)
  slots = train_step.make_batch(selected, num_examples)['decoder']
  chosen = slots['modality'][slots['trainable']]
  return {
    m.name: float(np.sum(chosen == i)) / num_examples
    for i, m in enumerate(selected)
    if m.is_target
  }


def _build(task, config, statistics, batch, dtype='bfloat16'):
  """Makes a task from a configuration, without data."""
  config.model.dtype = dtype
  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder, 'statistics.json').write_text(json.dumps(statistics))
    made = task(config, folder)
  return made, optim.make(config.optimizer, config.num_steps), batch


def build_pixels(side, batch_size, supervised='', dtype='bfloat16'):
  """Returns task, optimizer and a batch of one pixel, or of a square."""
  config = align_pixels.get_config(
    f'size=paper,data=sen4map,side={side}'
    + (f',supervised={supervised}' if supervised else '')
  )
  with config.ignore_type():
    config.model.factored_first_layer = False  # As on accelerators.
  config.batch_size = batch_size
  batch = {
    'pixels': np.zeros((1, 12, 10, int(side), int(side)), np.float32),
    'keep': np.zeros((1, 12), bool),
  }
  if supervised:
    batch['label'] = np.zeros(1, np.int32)
    return _build(classify_task.ClassifyPixels, config, {}, batch, dtype)
  config.loss.queue_size = max(config.loss.queue_size, batch_size)
  batch |= {
    'views': np.zeros((1, 4, 512), np.float32),
    'has_photo': np.zeros((1, 4), bool),
    'id': np.zeros(1, np.int32),
  }
  return _build(align_task.AlignPixels, config, {}, batch, dtype)


def build_images(modality):
  """Returns task, optimizer and a batch of one image."""
  config = image_tokenizer.get_config(
    f'modality={modality},size=base,data=terramesh'
  )
  bands, size = len(config.standards.mean), config.image_size
  dtype = np.int32 if modality == 'LULC' else np.float32
  batch = {
    'image': np.zeros((1, size, size, bands), dtype),
    'present': np.zeros((1, size, size), bool),
  }
  if modality != 'LULC':
    batch |= {'noise': np.zeros(1, np.uint32), 'step': np.zeros(1, np.int32)}
  return _build(image_task.ImageTokenizer, config, {}, batch)


def build_series(levels):
  """Returns task, optimizer and a batch of one window of 60 hours."""
  config = series_tokenizer.get_config(f'levels={levels}')
  statistics = {
    'series': {name: dict(count=1, mean=0.0, std=1.0) for name in config.series}
  }
  batch = {
    'values': np.zeros((1, 60), np.float32),
    'present': np.zeros((1, 60), bool),
    'inside': np.zeros((1, 60), bool),
    'series': np.zeros(1, np.int32),
  }
  return _build(series_task.SeriesTokenizer, config, statistics, batch)


def lower(task, size, devices, fsdp, examples, remat):
  """Returns the lowered step of a program on the given devices."""
  batch_size = len(devices) * examples
  parts = {
    'pretrain': lambda: build_backbone(size, remat),
    'align_pixels': lambda: build_pixels(size, batch_size),
    'classify_pixels': lambda: build_pixels(size, batch_size, 'land_cover'),
    'image_tokenizer': lambda: build_images(size),
    'series_tokenizer': lambda: build_series(size),
  }[task]()
  return sharding.lower(*parts, batch_size, fsdp, devices)


def measure(task, size, devices, fsdp, examples, remat=False):
  """Compiles a program; returns what one device computes, keeps and moves."""
  start = time.perf_counter()
  lowered = lower(task, size, jax.devices()[:devices], fsdp, examples, remat)
  compiled, program = collectives.compile_program(lowered)
  memory = compiled.memory_analysis()
  moved = {}
  for c in collectives.parse(program):
    groups = moved.setdefault(c.kind, {})
    key = str(c.devices or devices)
    groups[key] = groups.get(key, 0) + c.num_bytes
  flops, num_bytes = products(program)
  leaves = jax.tree.leaves(lowered.in_avals[0][0].params)
  return {
    'parameters': sum(math.prod(x.shape) for x in leaves),
    'arguments': memory.argument_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'flops': flops,
    'product_bytes': num_bytes,
    'collectives': moved,
    'seconds': round(time.perf_counter() - start),
  }


def measure_v5e(task, size, devices, fsdp, examples, remat=False):
  """Compiles a program for TPUs v5e; returns what one of them keeps."""
  start = time.perf_counter()
  os.environ['TPU_SKIP_MDS_QUERY'] = '1'  # There is no TPU to ask.
  os.environ.setdefault('TPU_ACCELERATOR_TYPE', 'v5litepod-8')
  os.environ.setdefault('TPU_WORKER_HOSTNAMES', 'localhost')
  topology = topologies.get_topology_desc(TOPOLOGIES[devices], 'tpu')
  lowered = lower(task, size, topology.devices, fsdp, examples, remat)
  memory = lowered.compile().memory_analysis()
  return {
    'arguments': memory.argument_size_in_bytes,
    'temporaries': memory.temp_size_in_bytes,
    'seconds': round(time.perf_counter() - start),
  }


def products(program):
  """Returns FLOPs and bytes of the products of a program, of one device."""
  computations, entry = collectives.computations_of(program)
  flops = num_bytes = 0
  for owner, label, times in collectives.instructions_of(computations, entry):
    text = computations[owner][label]
    if not (product := _PRODUCT.search(text)):
      continue
    arrays = [_array(text)]
    for operand in product[2].split(','):
      name, _, place = operand.split('%')[-1].strip().partition('#')
      arrays.append(_array(computations[owner][name], int(place or 0)))
    (_, result), (_, left), (_, right) = arrays
    if product[1] == 'dot':
      axes = re.search(r'lhs_contracting_dims=\{([\d,]*)\}', text)[1]
      summed = math.prod(left[int(a)] for a in axes.split(',') if a)
    else:  # Of the kernel, all axes but that of the output are summed over.
      labels = re.search(r'dim_labels=\w+_(\w+)->', text)[1]
      summed = math.prod(right) // right[labels.index('o')]
    flops += 2 * times * math.prod(result) * summed
    num_bytes += times * sum(size * math.prod(shape) for size, shape in arrays)
  return flops, num_bytes


def _array(text, place=0):
  """Returns bytes of an element and shape of an instruction's result.

  Of a tuple it is the array at `place`.
  """
  dtype, sizes = _SHAPE.findall(text)[place]
  bits = 8 if dtype == 'pred' else int(re.findall(r'\d+', dtype)[0])
  return bits // 8, [int(size) for size in sizes.split(',') if size]


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('programs', nargs='+', help='TASK:SIZE:DEVICES:...')
  for program in parser.parse_args().programs:
    task, size, devices, fsdp, examples, *options = program.split(':')
    function = measure_v5e if 'v5e' in options else measure
    measured = function(
      task, size, int(devices), int(fsdp), int(examples), 'remat' in options
    )
    print(json.dumps({'program': program} | measured), flush=True)


if __name__ == '__main__':
  main()
