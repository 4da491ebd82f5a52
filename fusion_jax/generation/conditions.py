"""What the encoder sees while a grid is generated: inputs and known codes.

Inputs are embedded once. Each step adds the codes that are known so far, and
each pass of guidance hides some of the inputs.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

from fusion_jax import modalities as modality_table
from fusion_jax.generation.grid_settings import Guidance
from fusion_jax.models import backbone as backbone_lib
from fusion_jax.ops import partitioning
from fusion_jax.types import Array, Batch, Params


def find_target(
  backbone: backbone_lib.Backbone, name: str
) -> tuple[int, modality_table.Modality]:
  """Finds a grid of codes that the model can generate.

  Args:
    backbone: the model.
    name: name of a tokenised modality, or of a sensor such as 'LULC'.

  Returns:
    Its index into `backbone.modalities`, and the modality.

  Raises:
    ValueError: if the model cannot generate it; the message lists what it can.
  """
  names = [m.name for m in backbone.modalities]
  targets = [
    m.name for m in backbone.modalities if m.kind == 'tokens' and m.is_target
  ]
  key = _key(name, names, 'target')
  if key not in targets:
    caption = 'Captions are not supported. ' if name == 'caption' else ''
    raise ValueError(
      f'{caption}The model cannot generate {name!r} as an image; it can '
      f'generate {targets}.'
    )
  return names.index(key), backbone.modalities[names.index(key)]


def num_passes(guidance: tuple[Guidance, ...]) -> int:
  """Returns P, how often each row is encoded and decoded in a step.

  Args:
    guidance: guidance of the generation.
  """
  if not guidance or (len(guidance) == 1 and guidance[0].scale == 1):
    return 1
  return len(guidance) + 1


def repeat_rows(arrays: Any, times: int) -> Any:
  """Repeats every row, the copies of one row next to each other.

  So rows stay on their device when they are spread over several.

  Args:
    arrays: tree of arrays [B, ...].
    times: number of copies.

  Returns:
    The tree with arrays [B * times, ...].
  """
  if times > 1:
    arrays = jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), arrays)
  return partitioning.split_rows(arrays)


def is_traced(array: Array) -> bool:
  """Returns whether an array [...] has no values yet, within `jax.jit`."""
  return isinstance(array, core.Tracer)


@dataclasses.dataclass(eq=False)
class Inputs:
  """Embedded inputs of the encoder.

  Attributes:
    backbone: the model.
    params: its parameters.
    modality: int [R, N], modality of each slot, -1 in padding.
    embedded: what `Backbone.embed_inputs` returned, [R, N, ...] each.
  """

  backbone: backbone_lib.Backbone
  params: Params
  modality: jax.Array | np.ndarray
  embedded: backbone_lib.Encoded

  def __post_init__(self) -> None:
    self._encoded: dict[Any, backbone_lib.Encoded] = {}

  @property
  def num_rows(self) -> int:
    """Number R of rows."""
    return self.modality.shape[0]

  def repeat(self, times: int) -> 'Inputs':
    """Returns the inputs with every row repeated, R * times rows.

    Args:
      times: number of copies, which follow each other.
    """
    if times == 1:
      return self
    modality, embedded = repeat_rows(
      (jnp.asarray(self.modality), self.embedded), times
    )
    return dataclasses.replace(self, modality=modality, embedded=embedded)

  def show(
    self, index: int, codes: jax.Array, known: jax.Array | None = None
  ) -> 'Inputs':
    """Returns the inputs together with codes of a grid.

    Args:
      index: index of the grid's modality.
      codes: int [R, L], codes of all positions.
      known: bool [R, L], True for the codes that are seen; None for all.
    """
    if known is None:
      known = jnp.ones(codes.shape, bool)
    slots = {
      'modality': jnp.where(known, index, -1),
      'position': jnp.broadcast_to(jnp.arange(codes.shape[1]), codes.shape),
      'code': codes,
      'patches': {},
    }
    grid = _embed(self.backbone, self.params, slots)
    embedded: Any = tuple(
      jnp.concatenate(pair, axis=1) for pair in zip(self.embedded, grid)
    )
    modality = jnp.concatenate([self.modality, slots['modality']], axis=1)
    return Inputs(self.backbone, self.params, modality, embedded)

  def encode(self, guidance: tuple[Guidance, ...]) -> backbone_lib.Encoded:
    """Runs the encoder, once for the same inputs and guidance.

    The first of the P passes of a row lacks every condition, pass i shows the
    conditions of guidance i only. Without guidance there is one pass, which
    shows everything.

    Args:
      guidance: guidance of the generation.

    Returns:
      What `Backbone.encode` returns, [R * P, ...]; the passes of a row follow
      each other.
    """
    hidden = [] if num_passes(guidance) == 1 else self._hidden(guidance)
    key = tuple(map(tuple, hidden))
    if key not in self._encoded:
      embedded = self.embedded
      if hidden:
        shown = [~_is_any(self.modality, names) for names in hidden]
        embedded = _passes(embedded, jnp.stack(shown, axis=1))
      encoded: Any = self.backbone.apply(
        {'params': self.params},
        *partitioning.split_rows(embedded),
        method='encode_embedded',
      )
      self._encoded[key] = encoded
    return self._encoded[key]

  def check(self, target: int, guidance: tuple[Guidance, ...]) -> None:
    """Checks that guidance and target fit the inputs.

    Args:
      target: index of the modality that is to be generated.
      guidance: guidance of the generation.

    Raises:
      ValueError: if the model does not see a condition; outside of `jax.jit`
        also if no slot shows it, or if one shows the target.
    """
    wanted = {
      name: self._index(name) for g in guidance for name in g.conditions
    }
    if is_traced(self.modality):
      return
    names = [m.name for m in self.backbone.modalities]
    given = [names[i] for i in np.unique(self.modality) if i >= 0]
    for name, index in wanted.items():
      if names[index] not in given:
        raise ValueError(
          f'Guidance by {name!r} lacks its condition: the inputs are {given}.'
        )
    if names[target] in given:
      raise ValueError(
        f'The inputs already show {names[target]!r}, which is to be '
        'generated; leave it out.'
      )

  def _hidden(self, guidance: tuple[Guidance, ...]) -> list[list[int]]:
    """Returns the indices of the modalities that each pass hides."""
    groups = [[self._index(name) for name in g.conditions] for g in guidance]
    conditions = sum(groups, [])
    return [conditions] + [
      [index for index in conditions if index not in group] for group in groups
    ]

  def _index(self, name: str) -> int:
    """Returns the index of a modality that the encoder sees."""
    seen = [m.name for m in self.backbone.modalities if m.seen]
    key = _key(name, seen, 'input')
    if key not in seen:
      raise ValueError(f'Guidance by {name!r}: the encoder sees only {seen}.')
    return [m.name for m in self.backbone.modalities].index(key)


def read(
  backbone: backbone_lib.Backbone, params: Params, slots: Batch
) -> Inputs:
  """Embeds the inputs.

  Args:
    backbone: the model.
    params: its parameters.
    slots: slots [B, N] of the encoder, see `Backbone.encode`.

  Returns:
    The inputs of B rows.
  """
  embedded = _embed(backbone, params, partitioning.split_rows(slots))
  return Inputs(backbone, params, slots['modality'], embedded)


def _embed(
  backbone: backbone_lib.Backbone, params: Params, slots: Batch
) -> backbone_lib.Encoded:
  embedded: Any = backbone.apply(
    {'params': params}, slots, method='embed_inputs'
  )
  return embedded


def _key(name: str, known: Sequence[str], role: Any) -> str:
  """Returns the key of a modality; `name` itself if it is no sensor."""
  if name in known:
    return name
  try:
    return modality_table.get(name, role).name
  except ValueError:
    return name


def _is_any(modality: Array, indices: Sequence[int]) -> jax.Array:
  """Returns where a slot has one of some modalities, bool [R, N]."""
  return jnp.isin(modality, jnp.asarray(indices, jnp.int32))


def _passes(
  embedded: backbone_lib.Encoded, shown: jax.Array
) -> backbone_lib.Encoded:
  """Makes P rows of one, in which only slots that are `shown` exist.

  Args:
    embedded: content [R, N, D], vectors [R, N, D] and visibility [R, N].
    shown: bool [R, P, N].

  Returns:
    The same of R * P rows. Hidden slots are padding, all zeros, since a row
    without any visible slot sees these.
  """
  shown = shown.reshape(-1, shown.shape[-1])
  content, emb, visible = repeat_rows(embedded, len(shown) // len(embedded[2]))
  visible &= shown
  there = visible[..., None]
  return jnp.where(there, content, 0), jnp.where(there, emb, 0), visible
