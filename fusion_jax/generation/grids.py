"""Generation of grids of codes: images from any inputs, in one or more steps.

MaskGIT decodes every hidden position and keeps the codes that it is most
certain of; ROAR decodes and keeps positions in a random order. Codes that are
kept are inputs of the encoder in the next step. `generate` draws one target,
`generate_all` several, each from the inputs alone or, as a chain, also from
the targets before it.

Source: 4M `fourm/models/generate.py` as TerraMind uses it
(reference/terramind.md 10; defects: 16). Differs from TerraMind:

- Several steps honour the schedule; TerraMind draws everything in the first.
- Grids have rows and columns in their order; TerraMind swaps them.
- Chaining is real and optional; TerraMind's generation models describe it, but
  their outputs do not see each other. Without `chain` that is reproduced.
- Guidance takes conditions of every kind, sequences too; for several
  conditions see `Guidance`. 4M's sampler for several is not ported: it hides
  what it should show.
- ROAR has a random order for each sample, not one for the whole batch, and all
  noise is a function of (seed, example, sample, position).
- A target that the encoder cannot see raises where its codes would have to be
  fed back; TerraMind goes on without them.
- Equal certainties, which are common with top-p, are taken in the order of
  their positions; the reference leaves this to its library.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from fusion_jax.generation import conditions
from fusion_jax.generation.conditions import Inputs
from fusion_jax.generation.grid_sampler import Sampler
from fusion_jax.generation.grid_settings import Guidance, Settings
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.train import rng
from fusion_jax.types import Array, Batch, Key, Params

__all__ = [
  'REFERENCE',
  'Guidance',
  'Settings',
  'example_keys',
  'generate',
  'generate_all',
  'position_logits',
]


REFERENCE = Settings()  # One step of ROAR with top-p 0.8.


def example_keys(seed: int, examples: Array | Sequence[int]) -> Key:
  """Returns the random key of each example.

  Args:
    seed: seed of the draws.
    examples: int [B], number of each example in all that is generated with
      this seed, whatever batch it comes in.

  Returns:
    [B] keys.
  """
  return jax.vmap(lambda i: rng.key_for(seed, 'grids', i))(
    jnp.asarray(examples)
  )


def generate(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  keys: Key,
  target: str,
  settings: Settings = REFERENCE,
  *,
  num_samples: int = 1,
  order: Array | None = None,
) -> jax.Array:
  """Draws the codes of an image.

  To be compiled by the caller. The encoder runs once in each step, and for a
  single step once for all samples of an example.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots [B, N] of the encoder that show the inputs, see
      `Backbone.encode`.
    keys: [B] random keys, see `example_keys`.
    target: name of a tokenised modality, or of a sensor such as 'LULC'.
    settings: how codes are drawn.
    num_samples: S, number of images per example.
    order: int [L] or [B, L], the positions of the grid in the order in which
      ROAR draws them. None: a random order for each sample.

  Returns:
    [B, S, rows, columns] int32 codes.

  Raises:
    ValueError: if the model cannot generate the target or does not see a
      condition of the guidance; outside of `jax.jit` also if the inputs lack
      this condition, or already show the target.
  """
  inputs = conditions.read(backbone, params, slots)
  sampler = Sampler(backbone, params, target, settings)
  sampler.check(inputs)
  row_keys = _sample_keys(keys, inputs, num_samples)
  return sampler.grids(inputs, row_keys, order)


def generate_all(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  keys: Key,
  targets: Mapping[str, Settings],
  *,
  num_samples: int = 1,
  chain: bool = False,
) -> dict[str, jax.Array]:
  """Draws the codes of several images, in the order of `targets`.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots [B, N] of the encoder that show the inputs, see
      `Backbone.encode`.
    keys: [B] random keys, see `example_keys`.
    targets: {name of a tokenised modality, or of a sensor: how its codes are
      drawn}.
    num_samples: S, number of images per example and target.
    chain: whether each target is an input of those after it: sample s of a
      target sees sample s of the earlier ones, and guidance may name them. By
      default every target depends on the inputs only, as in the reference.

  Returns:
    {name as given: [B, S, rows, columns] int32 codes}.

  Raises:
    ValueError: as `generate`; if there is no target, if two names mean the same
      one, or if the encoder cannot see one that a later target depends on.
  """
  samplers = {
    name: Sampler(backbone, params, name, settings)
    for name, settings in targets.items()
  }
  _check_targets(samplers, chain)
  inputs = conditions.read(backbone, params, slots)
  row_keys = _sample_keys(keys, inputs, num_samples)
  codes = {}
  for name, sampler in samplers.items():
    sampler.check(inputs)
    drawn = sampler.grids(inputs, row_keys, None)
    codes[name] = drawn.reshape(-1, num_samples, *drawn.shape[2:])
    if chain:
      flat = codes[name].reshape(-1, sampler.num_tokens)
      inputs = inputs.repeat(row_keys.shape[1]).show(sampler.index, flat)
      row_keys = row_keys.reshape(-1, 1)
  return codes


def position_logits(
  backbone: backbone_lib.Backbone,
  params: Params,
  slots: Batch,
  target: str,
  *,
  positions: Array | None = None,
  guidance: tuple[Guidance, ...] = (),
) -> jax.Array:
  """Returns the logits that the first step draws from, before any filter.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots [B, N] of the encoder that show the inputs.
    target: name of a tokenised modality, or of a sensor.
    positions: int [K], positions that are decoded together; None for the L
      positions of the whole grid.
    guidance: conditions that are strengthened.

  Returns:
    [B, K, V] float32.

  Raises:
    ValueError: as `generate`.
  """
  inputs = conditions.read(backbone, params, slots)
  sampler = Sampler(backbone, params, target, Settings(guidance=guidance))
  sampler.check(inputs)
  if positions is None:
    positions = jnp.arange(sampler.num_tokens)
  positions = jnp.asarray(positions, jnp.int32)
  shape = inputs.num_rows, len(positions)
  return sampler.logits(
    inputs.encode(guidance), jnp.broadcast_to(positions, shape), shape[1]
  )


def _check_targets(samplers: Mapping[str, Sampler], chain: bool) -> None:
  """Raises ValueError unless the targets can be drawn one after the other."""
  if not samplers:
    raise ValueError('No target was given; name one modality or more.')
  names = [sampler.modality.name for sampler in samplers.values()]
  if len(set(names)) < len(names):
    raise ValueError(
      f'Two of the targets {list(samplers)} are the same modality; name each '
      'one once.'
    )
  hidden = [s.modality.name for s in samplers.values() if not s.modality.seen]
  if chain and set(hidden) & set(names[:-1]):
    raise ValueError(
      f'The encoder cannot see {hidden}, so that no later target depends on '
      'them; put such a target last, or set chain=False.'
    )


def _sample_keys(keys: Key, inputs: Inputs, num_samples: int) -> Key:
  """Returns one key per grid, [B, S], from one per example, [B]."""
  if num_samples < 1:
    raise ValueError(f'num_samples={num_samples}: give 1 sample or more.')
  if keys.shape != (inputs.num_rows,):
    raise ValueError(
      f'There are {keys.shape} keys for {inputs.num_rows} examples; give one '
      'key per example, see `example_keys`.'
    )
  samples = jnp.arange(num_samples)
  return jax.vmap(
    lambda key: jax.vmap(lambda s: jax.random.fold_in(key, s))(samples)
  )(keys)
