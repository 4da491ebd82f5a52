"""How well weather series are generated from an image alone.

Source: the fusion paper, Fig. 12: hourly temperature from Sentinel-2.
"""

import dataclasses
import functools
import zlib
from typing import Any

import grain
import jax
import numpy as np
from absl import logging

from fusion_jax.data import pipelines
from fusion_jax.evals import forecasts, gather, plots
from fusion_jax.evals import yardsticks as yardsticks_lib
from fusion_jax.generation import sequences

_RED_GREEN_BLUE = (3, 2, 1)  # Of Sentinel-2, L1C and L2A.


class Generation:
  """Generates a series of every held-out place from what it is shown.

  Places without the image, or without any value of the series, are left out.
  """

  def __init__(
    self,
    backbone,
    source,
    showing,
    quantizer,
    *,
    target='t2m_hourly',
    field='S2L2A',
    yardsticks=None,
    oracle=None,
    num_examples=None,
    batch_size=64,
    num_samples=16,
    seed=0,
    place=jax.device_put,
  ):
    """Prepares; nothing runs yet.

    Args:
      backbone: `Backbone`.
      source: held-out examples, `len` and `[i]`.
      showing: transforms of `transforms.showing`, the condition.
      quantizer: `Quantizer` of the target.
      target: name of the series.
      field: image of an example that yardsticks and pictures read.
      yardsticks: {name: function from the band means [P, C] of the images to
        series [P, T]}.
      oracle: function from an example to its best possible series [T]; None
        where that is not known.
      num_examples: the first so many; all by default.
      batch_size: places generated together, over all processes.
      num_samples: series a place.
      seed: of the draws.
      place: from this process's share of a batch to global arrays.
    """
    self.forecast = None  # That of the last call, if there was a place.
    self._quantizer = quantizer
    self._modality = next(m for m in backbone.modalities if m.name == target)
    self._yardsticks = yardsticks or {}
    self._oracle = oracle
    self._place = place
    steps = (*showing, _Outcome(target, field, oracle, backbone.image_size))
    self._batches = lambda: pipelines.eval_batches(
      source, steps, batch_size=batch_size, seed=seed, num_examples=num_examples
    )

    def draw(params, slots, places, **kwargs):
      # A place's own key: its draws depend on no other place or process.
      keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
        jax.random.key(seed), places
      )
      return sequences.series(backbone, params, slots, keys, target, **kwargs)

    self._sample = jax.jit(functools.partial(draw, num_samples=num_samples))
    self._greedy = jax.jit(functools.partial(draw, sampling=sequences.GREEDY))

  def __call__(self, state, step):
    """Generates, keeps `forecast`, and returns {path: number}."""
    del step
    self.forecast = self.generate(state.eval_params)
    if self.forecast is None:
      logging.warning(
        'No held-out place has the image and %s: there is '
        'nothing to compare with.',
        self._modality.name,
      )
      return {}
    return forecasts.score(self.forecast)

  def generate(self, params):
    """The `forecasts.Forecast` of the split; the same on every process.

    None if no place has the image and a value of the series.
    """
    parts = []
    for batch in self._batches():
      batch = self._place(dict(batch))
      shown = batch.pop('encoder'), batch.pop('place')
      batch['samples'] = self._sample(params, *shown)
      batch['greedy'] = self._greedy(params, *shown)
      batch = gather.fetch(batch)
      keep = batch['valid'] & batch['known']
      parts.append({name: x[keep] for name, x in batch.items()})
    whole = {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    if not len(whole['truth']):
      return None
    known = {
      name: predict(whole['features'])
      for name, predict in self._yardsticks.items()
    }
    if self._oracle is not None:
      known['oracle'] = whole['oracle']
    return forecasts.Forecast(
      self._modality,
      whole['truth'],
      self._quantizer.decode(whole['samples']),
      self._quantizer.decode(whole['greedy'][:, 0]),
      known,
      np.stack([plots.stretch(x) for x in whole['picture']]),
      whole['lat'],
      whole['lon'],
      whole['time'],
    )


@dataclasses.dataclass(frozen=True)
class _Outcome(grain.transforms.Map):
  """What is compared, beside the condition `encoder`.

  Reads the target series, the (cropped) image, the place and its key.
  """

  target: str
  field: str
  oracle: Any
  image_size: int

  def map(self, example):
    image = example[self.field]
    known = image.size > 0 and np.isfinite(example[self.target]).any()
    if not image.size:
      image = np.zeros((self.image_size,) * 2 + image.shape[2:], image.dtype)
    truth = np.asarray(example[self.target], np.float32)
    best = (
      truth
      if self.oracle is None
      else np.asarray(self.oracle(example), np.float32)
    )
    return {
      'encoder': example['encoder'],
      'truth': truth,
      'oracle': best,
      'known': np.bool_(known),
      'place': np.uint32(zlib.crc32(example['key'].encode())),
      'features': yardsticks_lib.band_means(image).astype(np.float32),
      'picture': image[..., list(_RED_GREEN_BLUE)].astype(np.float32),
      **{name: np.float32(example[name]) for name in ('lat', 'lon')},
      'time': np.int32(example['time'] // 3_600),
    }


def fit_yardsticks(
  source, target='t2m_hourly', field='S2L2A', *, image_size, num_examples=25_000
):
  """Climatology and the regression on band means, of a training split.

  Args:
    source: examples, `len` and `[i]`.
    target: name of the series.
    field: of the image.
    image_size: pixels a side of the centre that the model sees.
    num_examples: at most so many, evenly out of all: reading an archive would
      take longer than training.

  Returns:
    {name: function from band means [P, C] to series [P, T]}; {} if there is a
    lead without any value.
  """
  features, series = [], []
  for i in np.linspace(0, len(source) - 1, min(len(source), num_examples)):
    example = source[int(i)]
    if not example[field].size:
      continue
    top, left = ((n - image_size) // 2 for n in example[field].shape[:2])
    features.append(
      yardsticks_lib.band_means(
        example[field][top : top + image_size, left : left + image_size]
      )
    )
    series.append(np.asarray(example[target]))
  if not series or np.isnan(series).all(axis=0).any():
    logging.warning(
      'The training examples lack %s at some or all leads: '
      'there are no yardsticks.',
      target,
    )
    return {}
  features, series = np.stack(features), np.stack(series)
  climatology = yardsticks_lib.Climatology.fit(series)
  regression = yardsticks_lib.LinearRegression.fit(features, series)
  return {
    'climatology': lambda x: climatology.predict(len(x)),
    'linear_regression': regression.predict,
  }
