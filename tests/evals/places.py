"""A few made-up places, an untrained model and its evaluation.

As a script it evaluates in one of several processes and saves what it got:
`python places.py --workdir DIR` and the arguments of `harness`.
"""

import argparse
import pathlib
import types

import grain
import jax
import numpy as np

from fusion_jax import modalities
from fusion_jax.data import normalize
from fusion_jax.data.transforms import pretrain as pretrain_transforms
from fusion_jax.evals import generation
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.ops import quantize
from fusion_jax.train import sharding
from tests.train import harness

RAW, TARGET = 'untok_sen2l2a@224', 't2m_hourly'
MODEL = modalities.select([RAW, TARGET], image_size=32)


def make_example(i):
  """A place whose image says how warm it is."""
  rng = np.random.default_rng(i)
  warmth = rng.normal()
  image = 2_000 + 500 * warmth + 100 * rng.normal(size=(36, 36, 12))
  series = 280 + 5 * warmth + rng.normal(size=60)
  return {
    'key': f'place_{i:03d}',
    'lat': np.float64(10 + i),
    'lon': np.float64(-20),
    'time': np.int64(1_577_836_800),
    'S2L2A': image.astype(np.int16),
    TARGET: series.astype(np.float32),
  }


SOURCE = [make_example(i) for i in range(11)]


def make_model():
  """`Backbone`, and a state with fresh parameters."""
  backbone = backbone_lib.Backbone(
    MODEL,
    width=16,
    encoder_depth=1,
    decoder_depth=1,
    num_heads=2,
    image_size=32,
  )
  slots = {
    name: np.zeros((1, 4), np.int32)
    for name in ('modality', 'position', 'code', 'attention')
  }
  patches = {RAW: np.zeros((1, 4, 256 * 12), np.float32)}
  params = jax.jit(backbone.init)(
    jax.random.key(0),
    {'encoder': slots | {'patches': patches}, 'decoder': slots},
  )['params']
  return backbone, types.SimpleNamespace(eval_params=params)


def make_eval(backbone, source=SOURCE, **kwargs):
  """`Generation` of all places, with every yardstick."""
  showing = pretrain_transforms.showing(
    MODEL,
    [RAW],
    image_size=32,
    quantizers={},
    tokenizer=None,
    standards=normalize.standards(MODEL),
  )
  held_out = {
    name: kwargs.pop(name)
    for name in ('batch_size', 'num_examples')
    if name in kwargs
  }
  settings = dict(
    num_samples=3,
    oracle=lambda example: example[TARGET],
    yardsticks=generation.fit_yardsticks(SOURCE, image_size=32),
  )
  return generation.Generation(
    backbone,
    generation.HeldOut(
      source, [NoPlace(), *showing], **{'batch_size': 8} | held_out
    ),
    quantize.uniform(260, 300),
    **settings | kwargs,
  )


class NoPlace(grain.transforms.Map):
  """Leaves the coordinates out, which no model here knows."""

  def map(self, example):
    return {**example, 'lat': np.float64('nan'), 'lon': np.float64('nan')}


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument('--workdir')
  harness.add_arguments(parser)
  args = parser.parse_args()
  harness.initialize(args)
  mesh = sharding.make_mesh()
  with jax.set_mesh(mesh):
    backbone, state = make_model()
    state.eval_params = jax.device_put(
      state.eval_params, sharding.replicated(mesh)
    )
    evaluate = make_eval(
      backbone, place=lambda batch: sharding.place(batch, mesh)
    )
    evaluate(state, 0)
  forecast = evaluate.forecast
  np.savez(
    pathlib.Path(args.workdir) / f'{args.process_id}.npz',
    samples=forecast.samples,
    truth=forecast.truth,
    greedy=forecast.greedy,
    regression=forecast.yardsticks['linear_regression'],
  )


if __name__ == '__main__':
  main()
