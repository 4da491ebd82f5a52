"""How many tokens of each modality are seen and predicted.

The arithmetic and the order of the random draws are those of 4M (apple/ml-4m,
`fourm/data/masking.py`), so that recorded draws give recorded budgets.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fusion_jax import modalities as modality_table

# Concentration that stands for 0: its modality then never gets a token.
_MIN_ALPHA = 1e-9


@dataclasses.dataclass(frozen=True)
class Mixture:
  """A mixture of pairs of Dirichlet distributions over modalities.

  In each component, one distribution divides the tokens that are seen, the
  other one the tokens that are predicted. Differs from the fusion paper, whose
  Eq. (3) has separate distributions for images and time series: as in
  TerraMind's code, one distribution covers all modalities.

  Attributes:
    input_alphas: {name of a modality: its concentrations among the tokens seen,
      one for each component}.
    target_alphas: {name of a modality: its concentrations among the tokens
      predicted, one for each component}; 0 for a modality that is never
      predicted.
    weights: weights of the components, in any unit; empty for equal weights.
    num_inputs: (least, most) number of tokens seen, both included.
    num_targets: (least, most) number of tokens predicted, both included.
    min_tokens: {name of a modality: its least budget}; 0 for modalities without
      an entry. After 100 draws that fall short of it, the last one is taken.
  """

  input_alphas: Mapping[str, Sequence[float]]
  target_alphas: Mapping[str, Sequence[float]]
  weights: Sequence[float] = ()
  num_inputs: tuple[int, int] = (128, 128)
  num_targets: tuple[int, int] = (128, 128)
  min_tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def __post_init__(self) -> None:
    rows = [*self.input_alphas.values(), *self.target_alphas.values()]
    sizes = {len(row) for row in rows} | ({len(self.weights)} - {0})
    if len(sizes) != 1:
      raise ValueError(
        'Every modality and the weights need one number for each component of '
        f'the mixture, but there are {sorted(sizes)} numbers.'
      )
    if set(self.input_alphas) != set(self.target_alphas):
      raise ValueError(
        f'input_alphas names {sorted(self.input_alphas)}, target_alphas '
        f'{sorted(self.target_alphas)}; both need the same modalities.'
      )

  @property
  def num_components(self) -> int:
    """Number of components of the mixture."""
    return len(next(iter(self.input_alphas.values())))


def all_to_all(
  selected: Sequence[modality_table.Modality],
  alpha: float = 0.5,
  raw_alpha: float = 1000.0,
  *,
  weights: Sequence[float] = (),
  num_inputs: tuple[int, int] = (128, 128),
  num_targets: tuple[int, int] = (128, 128),
  min_tokens: Mapping[str, int] | None = None,
) -> Mixture:
  """Returns 4M's mixture: raw pixels to everything, everything to everything.

  Args:
    selected: modalities of the model.
    alpha: concentration of every modality; raw pixels are never targets.
    raw_alpha: concentration of raw pixels in the first component, where that
      of all other inputs is 0.
    weights: weights of the components, in any unit; empty for equal weights.
    num_inputs: (least, most) number of tokens seen, both included.
    num_targets: (least, most) number of tokens predicted, both included.
    min_tokens: {name of a modality: its least budget}; 0 for modalities without
      an entry.

  Source: 4M `mix_mod7_all2all_rgb2all_a0.5`. Without raw pixels, only the
  second component remains.
  """
  raw = {m.name for m in selected if m.kind == 'image'}
  first = {m.name: (raw_alpha * (m.name in raw),) * bool(raw) for m in selected}
  inputs = {name: (*alphas, alpha) for name, alphas in first.items()}
  targets = {
    name: (alpha * (name not in raw),) * (1 + bool(raw)) for name in inputs
  }
  return Mixture(
    inputs, targets, weights, num_inputs, num_targets, min_tokens or {}
  )


def sample_budgets(
  mixture: Mixture,
  selected: Sequence[modality_table.Modality],
  rng: np.random.Generator,
  inputs: Collection[str] | None = None,
  targets: Collection[str] | None = None,
) -> tuple[dict[str, int], dict[str, int]]:
  """Draws how many tokens of each modality are seen and predicted.

  The shares follow the Dirichlet distributions of Eq. (3) of the fusion paper,
  with the difference that `Mixture` describes.

  Args:
    mixture: mixture over the modalities in `selected`.
    selected: modalities of the model, sorted by name.
    rng: generator of the random draws.
    inputs: names of the modalities that this example has; None for all.
    targets: names of the modalities that this example can predict; None for
      all.

  Returns:
    {name: number of tokens seen} and {name: number of tokens predicted}. A
    component that would show nothing of this example is not drawn, unless all
    components are such.
  """
  weights = _weights(mixture, selected, inputs)
  # What rng.choice draws, without its checks, which cost more than the draw.
  shares = weights.cumsum()
  component = int((shares / shares[-1]).searchsorted(rng.random(), 'right'))
  num_inputs, num_targets = (
    low if low == high else int(rng.integers(low, high + 1))
    for low, high in (mixture.num_inputs, mixture.num_targets)
  )
  return component_budgets(
    mixture, selected, component, num_inputs, num_targets, rng, inputs, targets
  )


def component_budgets(
  mixture: Mixture,
  selected: Sequence[modality_table.Modality],
  component: int,
  num_inputs: int,
  num_targets: int,
  rng: np.random.Generator,
  inputs: Collection[str] | None = None,
  targets: Collection[str] | None = None,
) -> tuple[dict[str, int], dict[str, int]]:
  """Draws the budgets of one component of the mixture, for known totals.

  Args:
    mixture: mixture over the modalities in `selected`.
    selected: modalities of the model, sorted by name.
    component: number of the component, counted from 0.
    num_inputs: total number of tokens seen.
    num_targets: total number of tokens predicted.
    rng: generator of the random draws.
    inputs: names of the modalities that this example has; None for all.
    targets: names of the modalities that this example can predict; None for
      all.

  Returns:
    {name: number of tokens seen} and {name: number of tokens predicted}.
  """
  names = [m.name for m in selected]
  least = np.array([mixture.min_tokens.get(name, 0) for name in names])
  most = np.array([m.max_tokens for m in selected])
  alphas = _alphas(mixture.input_alphas, names, component, inputs)
  seen = _budgets(alphas, num_inputs, least, most, rng)
  sequence = np.array([m.is_sequence for m in selected])
  most = np.where(sequence, most, np.maximum(least, most - seen))
  alphas = _alphas(mixture.target_alphas, names, component, targets)
  predicted = _budgets(alphas, num_targets, least, most, rng)
  return (dict(zip(names, seen.tolist())), dict(zip(names, predicted.tolist())))


def _weights(
  mixture: Mixture,
  selected: Sequence[modality_table.Modality],
  inputs: Collection[str] | None,
) -> np.ndarray:
  """Returns probabilities of the components for an example with `inputs`."""
  shown = [m.name for m in selected if inputs is None or m.name in inputs]
  weights = np.array(mixture.weights or [1.0] * mixture.num_components)
  alphas = np.array([mixture.input_alphas[name] for name in shown])
  usable = weights * (alphas > 0).any(0) if shown else weights
  weights = usable if usable.any() else weights
  return weights / weights.sum()


def _alphas(
  table: Mapping[str, Sequence[float]],
  names: Sequence[str],
  component: int,
  available: Collection[str] | None,
) -> np.ndarray:
  """Returns concentrations [n]; NaN for modalities that are not available."""
  alphas = np.array([table[name][component] for name in names], float)
  if available is not None:
    alphas[[name not in available for name in names]] = np.nan
  return alphas


def _budgets(
  alphas: np.ndarray,
  total: int,
  least: np.ndarray,
  most: np.ndarray,
  rng: np.random.Generator,
  num_tries: int = 100,
) -> np.ndarray:
  """Draws budgets [n] int: floors of shares, topped up to the total, clamped.

  The shares are a draw from a Dirichlet distribution, Eq. (3) of the fusion
  paper.

  Args:
    alphas: [n] float, concentrations; NaN for modalities that are left out.
    total: number of tokens to divide.
    least: [n] int, least budgets.
    most: [n] int, largest budgets.
    rng: generator of the random draws.
    num_tries: number of draws after which one that falls short is taken.
  """
  counts = np.zeros(len(alphas), int)
  available = ~np.isnan(alphas)
  alphas = alphas[available]
  if not (alphas > 0).any():
    return counts
  alphas = np.maximum(alphas, _MIN_ALPHA)
  budget = counts[available]
  for _ in range(num_tries):
    budget = np.floor(rng.dirichlet(alphas) * total).astype(int)
    rest = total - budget.sum()
    if rest:
      winners = np.argmax(rng.dirichlet(alphas, size=rest), axis=-1)
      budget += np.bincount(winners, minlength=len(budget))
    budget = np.minimum(budget, most[available])  # What is cut off is lost.
    if (budget >= least[available]).all():
      break
  counts[available] = budget
  return counts
