"""How well weather series are generated from an image alone.

Source: the fusion paper, Fig. 12: hourly temperature from Sentinel-2.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import logging

from fusion_jax.data import pipelines
from fusion_jax.evals import forecasts, gather, plots, validation
from fusion_jax.evals import yardsticks as yardsticks_lib
from fusion_jax.generation import sequences
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.train import state as state_lib
from fusion_jax.types import Example, Params, Source

# Function from band means [P, C] of images to series [P, T].
Yardstick = Callable[[np.ndarray], np.ndarray]
_RED_GREEN_BLUE = (3, 2, 1)  # Bands of Sentinel-2.


@dataclasses.dataclass(frozen=True)
class HeldOut:
  """Held-out places, and what of them the model is shown.

  Attributes:
    source: held-out examples.
    showing: transforms from an example to the encoder's tokens, such as those
      of `tasks.pretrain.Pretrain.showing`.
    num_examples: number of examples, from the first on; None for all.
    batch_size: places generated together, over all processes.
    seed: seed of the random draws.
  """

  source: Source
  showing: Sequence[Any]
  num_examples: int | None = None
  batch_size: int = 64
  seed: int = 0


class Generation:
  """Generates a series of every held-out place from what it is shown.

  Places without the image, or without any value of the series, are left out.

  Attributes:
    forecast: forecast of the last call; None before it, or if no place had
      the image and a value of the series.
  """

  forecast: forecasts.Forecast | None

  def __init__(
    self,
    backbone: backbone_lib.Backbone,
    held_out: HeldOut,
    quantizer: Any,
    *,
    target: str = 't2m_hourly',
    field: str = 'S2L2A',
    yardsticks: Mapping[str, Yardstick] | None = None,
    oracle: Callable[[Example], np.ndarray] | None = None,
    num_samples: int = 16,
    place: validation.Place = jax.device_put,
  ):
    """Takes what it works with; nothing runs yet.

    Args:
      backbone: model that generates.
      held_out: places to generate for.
      quantizer: bins or learned codes of the target; `decode` turns ids into
        values in the series' unit.
      target: name of the series.
      field: image of an example that yardsticks and pictures read.
      yardsticks: {name: function from the band means [P, C] of the images to
        series [P, T]}.
      oracle: function from an example to its best possible series [T]; None
        where that is not known.
      num_samples: number of series generated for each place.
      place: function from this process's share of a batch to global arrays.
    """
    self.forecast = None
    self._quantizer = quantizer
    self._modality = next(m for m in backbone.modalities if m.name == target)
    self._yardsticks = yardsticks or {}
    self._oracle = oracle
    self._place = place
    self._held_out = held_out
    self._steps = (
      *held_out.showing,
      _Outcome(target, field, oracle, backbone.image_size),
    )

    def draw(params, slots, places, **kwargs):
      # A place's own key: its draws depend on no other place or process.
      keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
        jax.random.key(held_out.seed), places
      )
      return sequences.series(backbone, params, slots, keys, target, **kwargs)

    self._sample = jax.jit(functools.partial(draw, num_samples=num_samples))
    self._greedy = jax.jit(functools.partial(draw, sampling=sequences.GREEDY))

  def __call__(
    self, state: state_lib.TrainState, step: int
  ) -> dict[str, float]:
    """Generates a series of every place and keeps `forecast`.

    Args:
      state: state of the run.
      step: number of steps done; not used.

    Returns:
      {path: number}; {} if there is nothing to compare with.
    """
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

  def generate(self, params: Params) -> forecasts.Forecast | None:
    """Generates a series of every place, alike on every process.

    Args:
      params: nested dict of the model's arrays.

    Returns:
      The series beside the truth; None if no place has the image and a value
      of the series.
    """
    parts = []
    for batch in pipelines.eval_batches(
      self._held_out.source,
      self._steps,
      batch_size=self._held_out.batch_size,
      seed=self._held_out.seed,
      num_examples=self._held_out.num_examples,
    ):
      batch = dict(self._place(dict(batch)))
      encoder_inputs = batch.pop('encoder'), batch.pop('place')
      batch['samples'] = self._sample(params, *encoder_inputs)
      batch['greedy'] = self._greedy(params, *encoder_inputs)
      batch = gather.fetch(batch)
      keep = batch['valid'] & batch['known']
      parts.append({name: x[keep] for name, x in batch.items()})
    whole = {
      name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    if not len(whole['truth']):
      return None
    yardsticks = {
      name: predict(whole['features'])
      for name, predict in self._yardsticks.items()
    }
    if self._oracle is not None:
      yardsticks['oracle'] = whole['oracle']
    return forecasts.Forecast(
      self._modality,
      whole['truth'],
      self._quantizer.decode(whole['samples']),
      self._quantizer.decode(whole['greedy'][:, 0]),
      yardsticks,
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
  oracle: Callable[[Example], np.ndarray] | None
  image_size: int

  def map(self, element: Example) -> Any:
    example = element
    image = example[self.field]
    is_complete = image.size > 0 and np.isfinite(example[self.target]).any()
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
      'known': np.bool_(is_complete),
      'place': np.uint32(zlib.crc32(example['key'].encode())),
      'features': yardsticks_lib.band_means(image).astype(np.float32),
      'picture': image[..., list(_RED_GREEN_BLUE)].astype(np.float32),
      **{name: np.float32(example[name]) for name in ('lat', 'lon')},
      'time': np.int32(example['time'] // 3_600),
    }


def fit_yardsticks(
  source: Source,
  target: str = 't2m_hourly',
  field: str = 'S2L2A',
  *,
  image_size: int,
  num_examples: int = 25_000,
) -> dict[str, Yardstick]:
  """Fits the climatology and a regression on band means to a training split.

  Args:
    source: examples of the training split.
    target: name of the series.
    field: field of the image.
    image_size: pixels per side of the centre that the model sees.
    num_examples: largest number of examples, taken evenly out of all: reading
      a whole archive would take longer than training.

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
