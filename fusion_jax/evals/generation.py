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

from fusion_jax.data import pipelines
from fusion_jax.evals import forecasts, gather, plots
from fusion_jax.evals import yardsticks as yardsticks_lib
from fusion_jax.models import generate

_RED_GREEN_BLUE = (3, 2, 1)  # Of Sentinel-2, L1C and L2A.


class Generation:
  """Generates a series of every held-out place from what it is shown."""

  def __init__(self, backbone, source, showing, quantizer, *,
               target='t2m_hourly', field='S2L2A', yardsticks=None,
               oracle=None, num_examples=None, batch_size=64, num_samples=16,
               seed=0, place=jax.device_put):
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
    self.forecast = None  # That of the last call.
    self._quantizer = quantizer
    self._modality = next(m for m in backbone.modalities if m.name == target)
    self._yardsticks = yardsticks or {}
    self._oracle = oracle
    self._place = place
    steps = (*showing, _Outcome(target, field, oracle))
    self._batches = lambda: pipelines.eval_batches(
        source, steps, batch_size=batch_size, seed=seed,
        num_examples=num_examples)
    def draw(params, slots, places, **kwargs):
      # A place's own key: its draws depend on no other place or process.
      keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
          jax.random.key(seed), places)
      return generate.series(
          backbone, params, slots, keys, target, **kwargs)

    self._sample = jax.jit(functools.partial(draw, num_samples=num_samples))
    self._greedy = jax.jit(functools.partial(draw, sampling=generate.GREEDY))

  def __call__(self, state, step):
    """Generates, keeps `forecast`, and returns {path: number}."""
    del step
    self.forecast = self.generate(state.eval_params)
    return forecasts.score(self.forecast)

  def generate(self, params):
    """The `forecasts.Forecast` of the split; the same on every process."""
    parts = []
    for batch in self._batches():
      batch = self._place(dict(batch))
      shown = batch.pop('encoder'), batch.pop('place')
      batch['samples'] = self._sample(params, *shown)
      batch['greedy'] = self._greedy(params, *shown)
      batch = gather.fetch(batch)
      parts.append({name: x[batch['valid']] for name, x in batch.items()})
    whole = {name: np.concatenate([part[name] for part in parts])
             for name in parts[0]}
    known = {name: predict(whole['features'])
             for name, predict in self._yardsticks.items()}
    if self._oracle is not None:
      known['oracle'] = whole['oracle']
    return forecasts.Forecast(
        self._modality, whole['truth'],
        self._quantizer.decode(whole['samples']),
        self._quantizer.decode(whole['greedy'][:, 0]), known,
        np.stack([plots.stretch(x) for x in whole['picture']]),
        whole['lat'], whole['lon'], whole['time'])


@dataclasses.dataclass(frozen=True)
class _Outcome(grain.transforms.Map):
  """What is compared, beside the condition `encoder`.

  Reads the target series, the (cropped) image, the place and its key.
  """
  target: str
  field: str
  oracle: Any

  def map(self, example):
    image = example[self.field]
    truth = np.asarray(example[self.target], np.float32)
    best = truth if self.oracle is None else np.asarray(
        self.oracle(example), np.float32)
    return {
        'encoder': example['encoder'], 'truth': truth, 'oracle': best,
        'place': np.uint32(zlib.crc32(example['key'].encode())),
        'features': yardsticks_lib.band_means(image).astype(np.float32),
        'picture': image[..., list(_RED_GREEN_BLUE)].astype(np.float32),
        **{name: np.float32(example[name]) for name in ('lat', 'lon')},
        'time': np.int32(example['time'] // 3_600)}


def fit_yardsticks(source, target='t2m_hourly', field='S2L2A', *,
                   image_size, num_examples=None):
  """Climatology and the regression on band means, of a training split.

  Args:
    source: examples, `len` and `[i]`.
    target: name of the series.
    field: of the image.
    image_size: pixels a side of the centre that the model sees.
    num_examples: the first so many; all by default.

  Returns:
    {name: function from band means [P, C] to series [P, T]}.
  """
  count = min(len(source), num_examples or len(source))
  features, series = [], []
  for i in range(count):
    example = source[i]
    top, left = ((n - image_size) // 2 for n in example[field].shape[:2])
    features.append(yardsticks_lib.band_means(
        example[field][top:top + image_size, left:left + image_size]))
    series.append(np.asarray(example[target]))
  features, series = np.stack(features), np.stack(series)
  climatology = yardsticks_lib.Climatology.fit(series)
  regression = yardsticks_lib.LinearRegression.fit(features, series)
  return {'climatology': lambda x: climatology.predict(len(x)),
          'linear_regression': regression.predict}
