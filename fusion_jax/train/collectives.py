"""Reads from a compiled program what every device sends to the others.

Equal results on every mesh do not show that the sharding is sane: a partitioner
that gathers the whole batch on every device computes the same numbers. The
program tells. It is read after XLA's pass `spmd-partitioning`, where shapes
are those of one device, and before the compiler for CPUs turns bfloat16 into
float32.
"""

import collections
import contextlib
import dataclasses
import math
import pathlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

KINDS = (
  'all-gather',
  'all-reduce',
  'all-reduce and slice',
  'reduce-scatter',
  'all-to-all',
  'collective-permute',
)
_ARRAY = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.-]+) .*\{$')
_INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = (.*)$')
_COLLECTIVE = re.compile(
  r'^(.*?) (all-gather|all-reduce|reduce-scatter|all-to-all'
  r'|collective-permute)(?:-start)?\('
)
_CALLED = re.compile(
  r'(?:to_apply|calls|condition|body|true_computation|false_computation)'
  r'=%?([\w.-]+)|branch_computations=\{([^}]*)\}'
)


@dataclasses.dataclass(frozen=True)
class Collective:
  """One kind of transfer between the devices of a program.

  Attributes:
    kind: one of KINDS. An all-reduce of which every device then takes its own
      slice is a reduce-scatter for compilers that have one (GPU, TPU).
    dtype: dtype as XLA names it, such as 'bf16'.
    shape: shape of the whole array on one device: what a gather returns, what
      a reduction takes.
    times: how often one step does it; trips of loops are counted.
    devices: number of devices that it connects; 0 where the program does not
      name them.
  """

  kind: str
  dtype: str
  shape: tuple[int, ...]
  times: int
  devices: int = 0

  @property
  def num_bytes(self) -> int:
    """Returns the bytes of the array, times `times`."""
    bits = 8 if self.dtype == 'pred' else int(re.findall(r'\d+', self.dtype)[0])
    return math.prod(self.shape) * bits // 8 * self.times


def compile_step(lowered: Any) -> tuple[Any, tuple[Collective, ...]]:
  """Compiles a lowered function and reads its collectives.

  Args:
    lowered: what `jax.jit(function).lower(...)` returns.

  Returns:
    The compiled function, and its collectives with the most bytes first.

  Raises:
    RuntimeError: if the compiler did not write the program, as after a change
      of its options.
  """
  compiled, program = compile_program(lowered)
  return compiled, parse(program)


def compile_program(lowered: Any) -> tuple[Any, str]:
  """Compiles a lowered function for several devices and reads its program.

  Args:
    lowered: what `jax.jit(function).lower(...)` returns.

  Returns:
    The compiled function, and the text of its HLO module after XLA's pass
    `spmd-partitioning`.

  Raises:
    RuntimeError: as `compile_step`.
  """
  with tempfile.TemporaryDirectory() as folder, _without_cache():
    compiled = lowered.compile(
      compiler_options={
        'xla_dump_to': folder,
        'xla_dump_hlo_pass_re': 'spmd-partitioning',
        'xla_dump_hlo_as_text': True,
      }
    )
    texts = [
      path.read_text()
      for path in pathlib.Path(folder).glob('*.after_spmd-partitioning.*.txt')
    ]
  if len(texts) != 1:
    raise RuntimeError(
      f'XLA of jax {jax.__version__} wrote {len(texts)} programs after its '
      'pass spmd-partitioning; expected one.'
    )
  return compiled, texts[0]


@contextlib.contextmanager
def _without_cache() -> Iterator[None]:
  """Compiles anew: a program from the persistent cache writes no passes."""
  enabled = jax.config.jax_enable_compilation_cache
  try:
    jax.config.update('jax_enable_compilation_cache', False)
    compilation_cache.reset_cache()  # What is enabled is read but once.
    yield
  finally:
    jax.config.update('jax_enable_compilation_cache', enabled)
    compilation_cache.reset_cache()


def parse(program: str) -> tuple[Collective, ...]:
  """Reads the collectives of a program.

  Args:
    program: text of an HLO module.

  Returns:
    Its collectives, with the most bytes first. Collectives that are alike are
    one, with their number in `times`. What stands in a loop without a constant
    number of trips counts once.
  """
  computations, entry = computations_of(program)
  counts: collections.Counter[Collective] = collections.Counter()
  _count(computations, entry, counts)
  transfers = [dataclasses.replace(c, times=n) for c, n in counts.items()]
  return tuple(sorted(transfers, key=lambda c: (-c.num_bytes, c.kind, c.shape)))


def total_bytes(transfers: Sequence[Collective], *kinds: str) -> int:
  """Returns the bytes that a device sends or receives in a step, about.

  Args:
    transfers: collectives of a step.
    *kinds: kinds to count, members of KINDS; all by default.

  Returns:
    Bytes of the whole arrays. A ring moves (n - 1) / n of them for a gather or
    a reduce-scatter between n devices, and twice that for an all-reduce.
  """
  return sum(c.num_bytes for c in transfers if not kinds or c.kind in kinds)


def computations_of(program: str) -> tuple[dict[str, dict[str, str]], str]:
  """Splits an HLO module into its computations.

  Args:
    program: text of an HLO module.

  Returns:
    {name of a computation: {name of an instruction: its text}}, and the name
    of the computation where the program starts.
  """
  computations: dict[str, dict[str, str]] = {}
  entry, name = '', ''
  for line in program.splitlines():
    if header := _COMPUTATION.match(line):
      name = header[1]
      computations[name] = {}
      entry = name if line.startswith('ENTRY') else entry
    elif name and (instruction := _INSTRUCTION.match(line)):
      computations[name][instruction[1]] = instruction[2]
  return computations, entry


def instructions_of(
  computations: Mapping[str, Mapping[str, str]], name: str, times: int = 1
) -> Iterator[tuple[str, str, int]]:
  """Yields the instructions of a computation and of all that it calls.

  Args:
    computations: computations of a program, see `computations_of`.
    name: name of the computation.
    times: how often it runs.

  Yields:
    (name of the computation, name of the instruction, how often it runs); a
    loop without a constant number of trips runs once.
  """
  for label, text in computations[name].items():
    yield name, label, times
    if _COLLECTIVE.match(text):
      continue
    trips = _trips(computations, text)
    for one, several in _CALLED.findall(text):
      for called in [one] if one else re.findall(r'[\w.-]+', several):
        yield from instructions_of(computations, called, times * trips)


def _count(
  computations: Mapping[str, Mapping[str, str]],
  name: str,
  counts: collections.Counter[Collective],
) -> None:
  """Adds the collectives of a computation and of all that it calls."""
  for owner, label, times in instructions_of(computations, name):
    instructions = computations[owner]
    text = instructions[label]
    if collective := _COLLECTIVE.match(text):
      kind = collective[2]
      if kind == 'all-reduce' and _only_sliced(label, instructions):
        kind = 'all-reduce and slice'
      devices = _group_size(text)
      parts = devices if kind == 'reduce-scatter' else 1
      for dtype, sizes in _ARRAY.findall(collective[1]):
        shape = tuple(int(size) for size in sizes.split(',') if size)
        if parts > 1:
          (axis,) = (int(i) for i in re.findall(r'dimensions=\{(\d+)\}', text))
          shape = (*shape[:axis], shape[axis] * parts, *shape[axis + 1 :])
        counts[Collective(kind, dtype, shape, 1, devices)] += times


def _only_sliced(label: str, instructions: Mapping[str, str]) -> bool:
  """Whether nothing but slices of an instruction's result is used."""
  use = re.compile(rf'%{re.escape(label)}(?![\w.-])')
  users = [text for text in instructions.values() if use.search(text)]
  return bool(users) and all(' dynamic-slice(' in text for text in users)


def _group_size(text: str) -> int:
  """Number of devices that a collective connects; 0 if it does not say."""
  if named := re.search(r'replica_groups=mesh\[(.*?)\] \{(.*?)\}', text):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
    return math.prod(int(sizes[x]) for x in re.findall(r"'(\w+)'", named[2]))
  if counted := re.search(r'replica_groups=\[\d+,(\d+)\]<=', text):
    return int(counted[1])
  if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', text):
    return len(listed[1].split(','))
  return 0


def _trips(computations: Mapping[str, Mapping[str, str]], text: str) -> int:
  """Number of trips of a loop, the constant that its condition compares."""
  loop = re.search(r' while\(.*condition=%?([\w.-]+)', text)
  if not loop:
    return 1
  limits = [
    int(limit)
    for line in computations[loop[1]].values()
    for limit in re.findall(r'^s32\[\] constant\((\d+)\)', line)
  ]
  return max(limits, default=1)
