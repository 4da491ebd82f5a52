"""What encoders cost: parameters, multiply-adds, time, memory (Table 7)."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from fusion_jax.assembly import pixel_layout
from fusion_jax.evals import paper_tables, tables
from fusion_jax.models import clip, clip_costs, pixel_costs, pixel_encoder
from fusion_jax.ops import calendar

SIDES = (1, 5, 9)
_NUM_TEXTS = 4  # Texts in the paper's row of CLIP, beside one image.
_CLIP_IMAGE = 'CLIP, 1 image'


class Cost(NamedTuple):
  """What one model costs.

  Attributes:
    name: name of the row in Table 7.
    macs: multiply-adds of one input, matrix products only.
    parameters: number of parameters.
    latency_ms: median time of one input in ms; NaN if not timed.
    memory_mb: memory of the compiled program in 10^6 bytes: parameters, input,
      output and intermediate arrays; NaN if not measured.
  """

  name: str
  macs: int
  parameters: int
  latency_ms: float = np.nan
  memory_mb: float = np.nan


def of_encoder(
  encoder: pixel_encoder.PixelEncoder,
  name: str = '',
  steps: int = calendar.MONTHS,
  repeats: int = 0,
) -> Cost:
  """Measures what a pixel encoder costs.

  Args:
    encoder: the encoder.
    name: name of the row; by default the paper's name of the size.
    steps: time steps of the input.
    repeats: runs whose median is the latency; 0 leaves time and memory out.
  """
  name = name or f'TimeSenCLIP {encoder.side}x{encoder.side}'
  # The paper's counter counts every token in every layer.
  counts = (
    pixel_costs.macs(encoder, steps),
    pixel_costs.num_parameters(encoder),
  )
  if not repeats:
    return Cost(name, *counts)
  params = _filled(lambda: pixel_encoder.init(encoder, jax.random.key(0)))
  pixels = np.zeros(
    (1, steps, encoder.num_bands, encoder.side, encoder.side), np.float32
  )
  return Cost(
    name,
    *counts,
    *_measure(
      lambda params, pixels: encoder.apply({'params': params}, pixels),
      (params, pixels),
      repeats,
    ),
  )


def of_clip(model: clip.Clip | None = None, repeats: int = 0) -> Cost:
  """Measures what CLIP costs for one image and four texts, the paper's row.

  Args:
    model: the model; by default OpenAI's ViT-B/16.
    repeats: runs whose median is the latency; 0 leaves time and memory out.
  """
  model = model or clip.Clip(activation='quick_gelu')
  counts = (
    clip_costs.image_macs(model) + _NUM_TEXTS * clip_costs.text_macs(model),
    clip_costs.num_parameters(model),
  )
  name = f'CLIP, 1 image and {_NUM_TEXTS} texts'
  if not repeats:
    return Cost(name, *counts)
  side = model.image_size
  inputs = (
    np.zeros((1, side, side, 3), np.float32),
    np.ones((_NUM_TEXTS, model.context), np.int32),
  )
  params = _filled(lambda: model.init(jax.random.key(0), *inputs)['params'])
  return Cost(
    name,
    *counts,
    *_measure(
      lambda params, *inputs: model.apply({'params': params}, *inputs),
      (params, *inputs),
      repeats,
    ),
  )


def of_clip_image(model: clip.Clip | None = None, repeats: int = 0) -> Cost:
  """Measures what CLIP costs for an image alone.

  Parameters are those of both towers.

  Args:
    model: the model; by default OpenAI's ViT-B/16.
    repeats: runs whose median is the latency; 0 leaves time and memory out.
  """
  model = model or clip.Clip(activation='quick_gelu')
  counts = clip_costs.image_macs(model), clip_costs.num_parameters(model)
  if not repeats:
    return Cost(_CLIP_IMAGE, *counts)
  side = model.image_size
  image = np.zeros((1, side, side, 3), np.float32)
  params = _filled(
    lambda: model.init(jax.random.key(0), image, method='embed_images')[
      'params'
    ]
  )
  return Cost(
    _CLIP_IMAGE,
    *counts,
    *_measure(
      lambda params, image: model.apply(
        {'params': params}, image, method='embed_images'
      ),
      (params, image),
      repeats,
    ),
  )


def paper_sizes(repeats: int = 0) -> list[Cost]:
  """Measures what the paper's encoder costs for 1, 5 and 9 pixels per side.

  Args:
    repeats: runs whose median is the latency; 0 leaves time and memory out.
  """
  return [
    of_encoder(
      pixel_encoder.PixelEncoder(
        side=side, factored_first_layer=pixel_layout.is_factored('auto')
      ),
      repeats=repeats,
    )
    for side in SIDES
  ]


def table(costs: Sequence[Cost]) -> str:
  """Makes Table 7, with the paper's numbers, of its hardware, in brackets.

  The paper's multiply-adds come from a counter that sees the products of
  attention twice, and biases and norms too.

  Args:
    costs: a row for each model.

  Returns:
    Markdown.
  """
  rows = []
  for cost in costs:
    model = 'CLIP' if cost.name.startswith('CLIP') else cost.name
    paper = {
      column: paper_tables.value(7, column, model=model)
      for column in (
        'gmac',
        'parameters_million',
        'inference_ms',
        'peak_memory_mb',
      )
    }
    if cost.name == _CLIP_IMAGE:  # The paper has no such row.
      paper = dict.fromkeys(paper, np.nan)
    rows.append(
      [
        cost.name,
        cost.macs,
        _with(cost.macs / 1e9, paper['gmac'], 4),
        cost.parameters,
        _with(cost.parameters / 1e6, paper['parameters_million'], 2),
        _with(cost.latency_ms, paper['inference_ms'], 2),
        _with(cost.memory_mb, paper['peak_memory_mb'], 1),
      ]
    )
  return tables.markdown(
    (
      'model',
      'multiply-adds',
      'G',
      'parameters',
      'M',
      'latency ms',
      'memory MB',
    ),
    rows,
  )


def metrics(cost: Cost) -> dict[str, float]:
  """Returns {path: number} of one model, without what was not measured.

  Args:
    cost: what the model costs.
  """
  numbers = {
    'macs': cost.macs,
    'parameters': cost.parameters,
    'latency_ms': cost.latency_ms,
    'memory_mb': cost.memory_mb,
  }
  return {
    f'efficiency/{name}': value
    for name, value in numbers.items()
    if np.isfinite(value)
  }


def _filled(init: Callable[[], Any]) -> Any:
  """Parameters of the right shapes: time does not depend on their values."""
  return jax.tree.map(
    lambda x: np.full(x.shape, 0.01, x.dtype), jax.eval_shape(init)
  )


def _measure(
  function: Callable[..., Any], arguments: tuple[Any, ...], repeats: int
) -> tuple[float, float]:
  """Returns median ms of one call, and 10^6 bytes of its program."""
  arguments = jax.device_put(arguments)
  compiled = jax.jit(function).lower(*arguments).compile()
  memory = compiled.memory_analysis()
  size = np.nan
  if memory is not None:  # Some platforms do not report it.
    size = (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
    )
  jax.block_until_ready(compiled(*arguments))
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    times.append(1e3 * (time.perf_counter() - start))
  return statistics.median(times), size / 1e6


def _with(ours: float, paper: float, digits: int) -> str:
  text = tables.number(float(ours), digits)
  if np.isnan(paper):
    return text
  return f'{text} ({tables.number(paper, digits)})'
