"""How many tokens of each modality are seen and predicted.

The arithmetic and the order of the draws are 4M's (apple/ml-4m,
`fourm/data/masking.py`), so that recorded draws
give recorded budgets.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np

_MIN_ALPHA = 1e-9  # Of a Dirichlet: its modality then never gets a token.


@dataclasses.dataclass(frozen=True)
class Mixture:
  """A mixture of pairs of Dirichlets, over what is seen and what predicted.

  Attributes:
    input_alphas: {modality name: one concentration a component}.
    target_alphas: the same, of targets; 0 for modalities never predicted.
    weights: of the components, in any unit; empty for equal ones.
    num_inputs: (least, most) tokens seen, both included.
    num_targets: (least, most) tokens predicted.
    min_tokens: {name: least budget}; 0 where not named. After 100 draws that
      fall short, the last one is taken.
  """

  input_alphas: Mapping[str, Sequence[float]]
  target_alphas: Mapping[str, Sequence[float]]
  weights: Sequence[float] = ()
  num_inputs: tuple[int, int] = (128, 128)
  num_targets: tuple[int, int] = (128, 128)
  min_tokens: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    rows = [*self.input_alphas.values(), *self.target_alphas.values()]
    sizes = {len(row) for row in rows} | ({len(self.weights)} - {0})
    if len(sizes) != 1:
      raise ValueError(
        f'Every modality and the weights need one number a component of the '
        f'mixture, but there are {sorted(sizes)} numbers.'
      )
    if set(self.input_alphas) != set(self.target_alphas):
      raise ValueError(
        f'input_alphas names {sorted(self.input_alphas)}, target_alphas '
        f'{sorted(self.target_alphas)}; both need the same modalities.'
      )

  @property
  def num_components(self):
    return len(next(iter(self.input_alphas.values())))


def all_to_all(selected, alpha=0.5, raw_alpha=1000.0, **settings):
  """4M's mixture: raw pixels to everything, and everything to everything.

  Args:
    selected: modalities.
    alpha: concentration of every modality; raw pixels are never targets.
    raw_alpha: of raw pixels in the first component, where all else is 0.
    **settings: further fields of `Mixture`.

  Source: 4M `mix_mod7_all2all_rgb2all_a0.5`. Without raw pixels only the second
  component remains.
  """
  raw = {m.name for m in selected if m.kind == 'image'}
  first = {m.name: (raw_alpha * (m.name in raw),) * bool(raw) for m in selected}
  inputs = {name: (*alphas, alpha) for name, alphas in first.items()}
  targets = {
    name: (alpha * (name not in raw),) * (1 + bool(raw)) for name in inputs
  }
  return Mixture(inputs, targets, **settings)


def sample_budgets(mixture, selected, rng, inputs=None, targets=None):
  """Draws a component and how many tokens of each modality are used.

  Args:
    mixture: of the modalities in `selected`.
    selected: modalities, sorted by name.
    rng: NumPy generator.
    inputs: names of what this example has to show; None for all.
    targets: names of what it has to predict; None for all.

  Returns:
    {name: tokens seen}, {name: tokens predicted}. Components that would show
    nothing of this example are not drawn, unless all are such.
  """
  weights = _weights(mixture, selected, inputs)
  component = int(rng.choice(mixture.num_components, p=weights))
  num_inputs, num_targets = (
    int(rng.integers(low, high + 1))
    for low, high in (mixture.num_inputs, mixture.num_targets)
  )
  return component_budgets(
    mixture, selected, component, num_inputs, num_targets, rng, inputs, targets
  )


def component_budgets(
  mixture,
  selected,
  component,
  num_inputs,
  num_targets,
  rng,
  inputs=None,
  targets=None,
):
  """`sample_budgets` for a given component and given totals."""
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


def _weights(mixture, selected, inputs):
  """Probabilities of the components, for an example with these inputs."""
  shown = [m.name for m in selected if inputs is None or m.name in inputs]
  weights = np.array(mixture.weights or [1.0] * mixture.num_components)
  alphas = np.array([mixture.input_alphas[name] for name in shown])
  usable = weights * (alphas > 0).any(0) if shown else weights
  weights = usable if usable.any() else weights
  return weights / weights.sum()


def _alphas(table, names, component, available: Collection[str] | None):
  """Concentrations [n]; NaN for modalities that the example lacks."""
  alphas = np.array([table[name][component] for name in names], float)
  if available is not None:
    alphas[[name not in available for name in names]] = np.nan
  return alphas


def _budgets(alphas, total, least, most, rng, num_tries=100):
  """Floor of the shares, topped up to the total, then clamped, as [n] ints."""
  counts = np.zeros(len(alphas), int)
  there = ~np.isnan(alphas)
  alphas = alphas[there]
  if not (alphas > 0).any():
    return counts
  alphas = np.maximum(alphas, _MIN_ALPHA)
  for _ in range(num_tries):
    budget = np.floor(rng.dirichlet(alphas) * total).astype(int)
    rest = total - budget.sum()
    if rest:
      winners = np.argmax(rng.dirichlet(alphas, size=rest), axis=-1)
      budget += np.bincount(winners, minlength=len(budget))
    budget = np.minimum(budget, most[there])  # What is cut off is lost.
    if (budget >= least[there]).all():
      break
  counts[there] = budget
  return counts
