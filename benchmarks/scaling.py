r"""Derives memory, step times and scaling of every task from compiled steps.

  python -m benchmarks.scaling --page       # The page alone, from what is kept.
  python -m benchmarks.scaling [--task pretrain] [--size base]
      Compiles anew what was not compiled yet, a process a program; minutes each
      for base and large.

What `benchmarks.scaling_programs` reads from a program is kept in
benchmarks/results/scaling.json; benchmarks/results/scaling.md is made from it.
Two programs that differ only in the examples on each device give a line, on
which every other number of examples lies. No figure was measured on a device.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import platform
import subprocess
import sys

import jax

from benchmarks import scaling_programs
from fusion_jax.models import costs

RESULTS = pathlib.Path(__file__).parent / 'results'
EFFICIENCY = 0.45  # Assumed share of the peak that products reach.
USABLE = 0.9  # Of the memory: XLA_PYTHON_CLIENT_MEM_FRACTION on GPUs.
BLOCK = 128  # Rows of one product of a head, see `ops.grouped_losses`.
STEPS, BATCH = 78_124, 512  # Pretraining in the fusion paper.
GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """One kind of accelerator, as its maker publishes it.

  Attributes:
    name: name of the accelerator.
    flops: dense bfloat16 FLOP/s.
    memory: bytes of its memory.
    memory_rate: bytes/s from and to its memory.
    link_rate: bytes/s that it receives from its neighbours, one direction.
    source: where the figures stand.
  """

  name: str
  flops: float
  memory: float
  memory_rate: float
  link_rate: float
  source: str


CHIPS = {
  'A100': Chip(
    'A100-SXM 80GB',
    312e12,
    80e9,
    2039e9,
    300e9,  # NVLink: 600 GB/s in both directions together.
    'https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/'
    'nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf',
  ),
  'H100': Chip(
    'H100-SXM 80GB',
    989e12,
    80e9,
    3350e9,
    450e9,  # NVLink: 900 GB/s in both directions together.
    'https://www.nvidia.com/en-us/data-center/h100/',
  ),
  'v5e': Chip(
    'TPU v5e',
    197e12,
    16e9,
    819e9,
    # 400 GB/s in both directions over 4 links. Only axes of 16 chips are
    # rings: in 8 x 8 the chips at the corners have 2 links of 50 GB/s.
    100e9,
    'https://docs.cloud.google.com/tpu/docs/v5e',
  ),
}
# Between nodes of 8 GPUs, 4 x 200 Gb/s InfiniBand: 100 GB/s a node, one
# direction, of which each GPU has an eighth.
NETWORK_RATE = 4 * 200e9 / 8 / 8

PAIRS = {  # Programs of which two make a line, and their devices and fsdp.
  'pretrain': (
    ('tiny', 2, 1, (8, 32)),
    ('small', 2, 1, (8, 32)),
    ('base', 2, 1, (8, 32)),
    ('base', 8, 8, (8, 32)),
    ('large', 8, 8, (8, 32)),
  ),
  'align_pixels': (('1', 2, 1, (256, 1024)), ('9', 2, 1, (256, 1024))),
  'classify_pixels': (('1', 2, 1, (256, 1024)),),
  'image_tokenizer': (('S2L2A', 2, 1, (4, 16)), ('LULC', 2, 1, (4, 16))),
  'series_tokenizer': (('8-8-8-8', 2, 1, (32, 256)),),
}
REMAT_EXAMPLES = (128, 256)
MESHES = (
  'pretrain:base:8:8:8:remat',
  'pretrain:large:8:8:8:remat',
  'pretrain:base:32:8:8',
  'pretrain:base:64:64:8',
  'pretrain:large:32:8:8',
  'pretrain:large:64:64:8',
)
V5E = (
  'pretrain:tiny:1:1:8:v5e',
  'pretrain:base:8:8:8:v5e',
  'pretrain:base:8:8:16:v5e',
)


def programs():
  """Returns the names of all programs."""
  names = []
  for task, rows in PAIRS.items():
    for size, devices, fsdp, examples in rows:
      for option in ('', ':remat') if task == 'pretrain' else ('',):
        names += _pair(task, size, devices, fsdp, examples, option)
  return [*names, *MESHES, *V5E]


def _pair(task, size, devices, fsdp, examples, option):
  """Names of the two programs of a line."""
  # So few examples with remat that the optimizer needs most make no line.
  counts = REMAT_EXAMPLES if option else examples
  return [f'{task}:{size}:{devices}:{fsdp}:{n}{option}' for n in counts]


@dataclasses.dataclass(frozen=True)
class Line:
  """What one device needs, as a line over the number of its examples.

  Attributes:
    first: what was read from the program with fewer examples.
    second: what was read from the other one.
    examples: their numbers of examples on each device.
    fsdp: devices that share one copy of the parameters.
    heads: (FLOPs, bytes) of one more block of rows of each head, and targets
      per example, which the programs count as one block.
  """

  first: dict
  second: dict
  examples: tuple[int, int]
  fsdp: int
  heads: tuple[tuple[float, float, float], ...] = ()

  def at(self, name, count):
    """Returns the value for `count` examples."""
    low, high = self.examples
    slope = (self.second[name] - self.first[name]) / (high - low)
    return self.first[name] + slope * (count - low)

  def slope(self, name):
    """Returns what one example adds."""
    return self.at(name, 1) - self.at(name, 0)

  def memory(self, count):
    """Returns bytes of state, batch and temporaries."""
    return self.at('arguments', count) + self.at('temporaries', count)

  def largest(self, chip):
    """Returns the largest number of examples that fits."""
    slope = self.slope('arguments') + self.slope('temporaries')
    return max(0, int((USABLE * chip.memory - self.memory(0)) / slope))

  def flops(self, count):
    """Returns FLOPs of a step, of all blocks of the heads."""
    return self.at('flops', count) + sum(
      flops * self._more(targets, count) for flops, _, targets in self.heads
    )

  def num_bytes(self, count):
    """Returns bytes from and to memory of a step, the optimizer included."""
    optimizer = scaling_programs.OPTIMIZER_BYTES * self.first['parameters']
    return (
      self.at('product_bytes', count)
      + optimizer / self.fsdp
      + sum(size * self._more(t, count) for _, size, t in self.heads)
    )

  def _more(self, targets, count):
    """Blocks of a head beyond the one that the compiler counts."""
    return max(0, math.ceil(targets * count / BLOCK) - 1)

  def seconds(self, chip, count):
    """Returns (seconds of products, seconds of memory) of a step."""
    return (
      self.flops(count) / (EFFICIENCY * chip.flops),
      self.num_bytes(count) / chip.memory_rate,
    )


def heads(size):
  """Returns FLOPs and bytes of one block of each head, and its targets."""
  model = scaling_programs.make_backbone(size)
  targets = scaling_programs.targets_per_example()
  rows = []
  for head in model.heads:
    table = head.vocab_size * model.width
    # Logits, gradients of outputs and of the table. The table is read twice in
    # bfloat16, its float32 gradient is read and written, and so are logits.
    flops = 3 * 2 * BLOCK * table
    num_bytes = table * (2 * 2 + 2 * 4) + 3 * 4 * BLOCK * head.vocab_size
    rows.append((flops, num_bytes, targets[head.name]))
  return tuple(rows)


def make_line(kept, task, size, devices, fsdp, examples, option=''):
  """Returns the line of two programs; None where one was not compiled."""
  names = _pair(task, size, devices, fsdp, examples, option)
  if not all(name in kept for name in names):
    return None
  return Line(
    *(kept[name] for name in names),
    REMAT_EXAMPLES if option else examples,
    fsdp,
    heads(size) if task == 'pretrain' else (),
  )


def lines(kept):
  """Yields (task, size, devices, option, line) of what was compiled."""
  for task, rows in PAIRS.items():
    for size, devices, fsdp, examples in rows:
      for option in ('', ':remat'):
        line = make_line(kept, task, size, devices, fsdp, examples, option)
        if line:
          yield task, size, fsdp, option.strip(':'), line


def memory_table(kept):
  """Returns the table of memory and of examples that fit."""
  rows = []
  for task, size, fsdp, option, line in lines(kept):
    parameters = line.first['parameters']
    rows.append(
      [
        f'{task} {size}',
        fsdp,
        option,
        f'{parameters / 1e6:.1f} M',
        _gib(line.at('arguments', 0)),
        _gib(4 * parameters / fsdp),
        _gib(max(0, line.at('temporaries', 0))),
        _mib(line.slope('arguments')),
        _mib(line.slope('temporaries')),
        *(line.largest(chip) or 'none' for chip in CHIPS.values()),
      ]
    )
  return _table(
    [
      'task and size',
      'fsdp',
      '',
      'parameters',
      'state GiB',
      'gradients GiB',
      'temporaries GiB',
      'batch MiB an example',
      'temporaries MiB an example',
      *(f'largest on {chip.name}' for chip in CHIPS.values()),
    ],
    rows,
  )


def compilers_table(kept):
  """Returns the table of both compilers on the same programs."""
  rows = []
  for name in V5E:
    other = name.removesuffix(':v5e')
    task, size, devices, fsdp, examples, *option = other.split(':')
    line = None
    for row in PAIRS[task]:
      if row[0] == size and row[2] == int(fsdp):
        line = make_line(kept, task, *row, ''.join(f':{x}' for x in option))
    if name in kept and line:
      rows.append(
        [
          f'{task} {size} {" ".join(option)}',
          fsdp,
          examples,
          _gib(line.at('temporaries', int(examples))),
          _gib(kept[name]['temporaries']),
        ]
      )
  return _table(
    ['task and size', 'fsdp', 'examples', 'for CPUs, GiB', 'for v5e, GiB'], rows
  )


def time_table(kept):
  """Returns the table of expected step times of one device."""
  rows = []
  for task, size, fsdp, option, line in lines(kept):
    for count in _counts(task):
      cells = []
      for chip in CHIPS.values():
        products, memory = line.seconds(chip, count)
        fits = count <= line.largest(chip)
        cells.append(
          f'{_ms(max(products, memory))} '
          f'({"products" if products > memory else "memory"}'
          f'{"" if fits else ", does not fit"})'
        )
      rows.append(
        [
          f'{task} {size}',
          fsdp,
          option,
          count,
          f'{line.flops(count) / 1e12:.3g}',
          f'{line.num_bytes(count) / 1e9:.3g}',
          *cells,
        ]
      )
  return _table(
    [
      'task and size',
      'fsdp',
      '',
      'examples',
      'TFLOP',
      'GB',
      *(f'{chip.name}, ms' for chip in CHIPS.values()),
    ],
    rows,
  )


def _counts(task):
  """Examples on each device for which times are shown."""
  return {
    'pretrain': (32, 128),
    'image_tokenizer': (16, 64),
    'series_tokenizer': (32,),
  }.get(task, (256, 1024))


@dataclasses.dataclass(frozen=True)
class Machine:
  """Accelerators that train together.

  Attributes:
    name: how they are connected.
    chip: their kind, a key of CHIPS.
    devices: number of accelerators.
    fsdp: devices that share one copy of the parameters.
    nodes: number of nodes, connected by the network.
  """

  name: str
  chip: str
  devices: int
  fsdp: int = 1
  nodes: int = 1


FOUR, POD = '4 A100, NVLink', 'v5e-64, 8 x 8'
# Machine, size, option, and the programs that tell what is moved within a node
# and between nodes.
SCALING = (
  (Machine(FOUR, 'A100', 4), 'tiny', '', 'pretrain:tiny:2:1:8', ''),
  (Machine(FOUR, 'A100', 4), 'small', '', 'pretrain:small:2:1:8', ''),
  (Machine(FOUR, 'A100', 4), 'base', '', 'pretrain:base:2:1:8', ''),
  (Machine(FOUR, 'A100', 4, 4), 'large', '', 'pretrain:large:8:8:8', ''),
  (
    Machine(FOUR, 'A100', 4, 4),
    'large',
    'remat',
    'pretrain:large:8:8:8:remat',
    '',
  ),
  *(
    (
      Machine('4 nodes of 8 A100', 'A100', 32, 8, 4),
      size,
      option,
      f'pretrain:{size}:8:8:8{":remat" if option else ""}',
      f'pretrain:{size}:32:8:8',
    )
    for size, option in (('base', ''), ('large', ''), ('large', 'remat'))
  ),
  (Machine(POD, 'v5e', 64), 'tiny', '', 'pretrain:tiny:2:1:8', ''),
  (Machine(POD, 'v5e', 64), 'small', '', 'pretrain:small:2:1:8', ''),
  *(
    (
      Machine(POD, 'v5e', 64, 64),
      size,
      option,
      f'pretrain:{size}:8:8:8:remat' if option else f'pretrain:{size}:64:64:8',
      '',
    )
    for size in ('base', 'large')
    for option in ('', 'remat')
  ),
)


def transfers(machine, within, between=None):
  """Returns {(axis, kind): (bytes, seconds)} of what a device moves in a step.

  Args:
    machine: the devices.
    within: program whose transfers are those over the links of a node.
    between: program whose transfers between as many devices as there are nodes
      are those over the network; None for one node.
  """
  moved = {}
  for axis, program, count, rate in (
    (
      'within',
      within,
      machine.devices // machine.nodes,
      CHIPS[machine.chip].link_rate,
    ),
    ('between nodes', between, machine.nodes, NETWORK_RATE),
  ):
    for kind, groups in (program or {'collectives': {}})['collectives'].items():
      for group, num_bytes in groups.items():
        if program is between and int(group) != machine.nodes:
          continue
        rounds = 2 if kind == 'all-reduce' else 1
        seconds = rounds * num_bytes * (count - 1) / count / rate
        moved[axis, kind] = num_bytes, seconds
  return moved


def scaling_table(kept):
  """Returns the table of efficiencies."""
  rows = []
  for machine, size, option, within, between in SCALING:
    line = _line_of(kept, size, option)
    if not line or within not in kept or (between and between not in kept):
      continue
    chip = CHIPS[machine.chip]
    largest = _largest_on(line, chip, machine.fsdp)
    if largest < 1:
      rows.append([machine.name, f'{size} {option}', *[''] * 6, 'memory'])
      continue
    count = min(128, 2 ** int(math.log2(largest)))
    line = dataclasses.replace(line, fsdp=machine.fsdp)
    compute = max(line.seconds(chip, count))
    moved = transfers(machine, kept[within], kept.get(between))
    seconds = {
      axis: sum(s for (a, _), (_, s) in moved.items() if a == axis)
      for axis in ('within', 'between nodes')
    }
    hidden = compute / max(compute, *seconds.values())
    plain = compute / (compute + sum(seconds.values()))
    rows.append(
      [
        machine.name,
        f'{size} {option}'.strip(),
        f'{machine.devices // machine.fsdp} x {machine.fsdp}',
        count,
        _ms(compute),
        '; '.join(
          f'{kind} {n / 1e9:.3g} GB {axis} {_ms(s)} ms'
          for (axis, kind), (n, s) in moved.items()
          if n > 1e7
        ),
        f'{hidden:.0%}',
        f'{plain:.0%}',
        _limit(hidden, plain, seconds),
      ]
    )
  return _table(
    [
      'machine',
      'size',
      'data x fsdp',
      'examples a device',
      'compute ms',
      'transfers of a device',
      'overlapped',
      'one after the other',
      'below 90 %: what limits it',
    ],
    rows,
  )


def _limit(hidden, plain, seconds):
  """Names what keeps an efficiency below 0.9."""
  if plain >= 0.9:
    return ''
  slowest = max(seconds, key=seconds.get)
  where = {'within': 'the links', 'between nodes': 'the network'}[slowest]
  return f'{where}, {"even" if hidden < 0.9 else "unless"} overlapped'


def _line_of(kept, size, option):
  """The line of pretraining of a size, from the mesh that was compiled."""
  rows = [row for row in PAIRS['pretrain'] if row[0] == size]
  found = (
    make_line(kept, 'pretrain', *row, f':{option}' if option else '')
    for row in rows
  )
  return next((line for line in found if line), None)


def runs_table(kept):
  """Returns the table of devices and hours of the papers' runs."""
  rows = []
  for size in ('tiny', 'small', 'base', 'large'):
    for chip, devices in (('A100', 4), ('H100', 8), ('v5e', 64)):
      count = BATCH // devices
      for option in ('', 'remat'):
        line = _line_of(kept, size, option)
        if line and count <= _largest_on(line, CHIPS[chip], devices):
          rows.append(
            _run_row(f'pretrain {size}', line, option, chip, devices, STEPS)
          )
          break
  for task, size, steps, batch, devices in (
    ('align_pixels', '1', 41_000, 1024, 1),
    ('align_pixels', '9', 41_000, 1024, 1),
    ('image_tokenizer', 'S2L2A', 100_000, 2048, 32),
    ('image_tokenizer', 'LULC', 100_000, 2048, 32),
  ):
    (row,) = (row for row in PAIRS[task] if row[0] == size)
    line = make_line(kept, task, *row)
    if line:
      for chip in ('A100', 'H100'):
        rows.append(
          _run_row(f'{task} {size}', line, '', chip, devices, steps, batch)
        )
  return _table(
    [
      'run',
      '',
      'devices',
      'examples a device',
      'step ms',
      'hours',
      'x devices',
    ],
    rows,
  )


def _largest_on(line, chip, fsdp):
  """Largest number of examples that fits, with the state split over `fsdp`."""
  state = line.at('arguments', 0) * line.fsdp / fsdp
  room = USABLE * chip.memory - state - line.at('temporaries', 0)
  return int(room / (line.slope('arguments') + line.slope('temporaries')))


def _run_row(name, line, option, chip, devices, steps, batch=BATCH):
  count = batch // devices
  seconds = max(line.seconds(CHIPS[chip], count))
  hours = seconds * steps / 3600
  return [
    name,
    option,
    f'{devices} {CHIPS[chip].name}',
    count,
    _ms(seconds),
    f'{hours:.1f}',
    f'{hours * devices:.0f}',
  ]


def paper_sentence(kept):
  """Returns what the paper's 24 hours on four A100 say about its own share."""
  line = _line_of(kept, 'base', '')
  if not line:
    return ''
  hours = max(line.seconds(CHIPS['A100'], BATCH // 4)) * STEPS / 3600
  return (
    f"The paper's 24 hours for base are {24 / hours:.1f} times what 45 % would "
    f'take:\nall in all, it reached {EFFICIENCY * hours / 24:.0%} of the peak.'
  )


def check_flops(kept):
  """Returns what the compiled and the counted FLOPs of an example are."""
  rows = []
  for size in ('tiny', 'small', 'base', 'large'):
    line = _line_of(kept, size, '')
    if line:
      model = scaling_programs.make_backbone(size)
      blocks = 6 * costs.block_products(model, 128, 128)
      compiled = line.slope('flops')
      rows.append([size, f'{compiled / 1e9:.1f}', f'{blocks / 1e9:.1f}'])
  return _table(
    ['size', 'compiled, GFLOP an example', 'blocks alone, counted'], rows
  )


def page(kept):
  """Returns the page, Markdown."""
  text = pathlib.Path(__file__).with_name('scaling_page.md').read_text()
  tables = {
    'CHIPS': _table(
      ['', 'bfloat16 TFLOP/s', 'memory', 'GB/s', 'links, GB/s', 'source'],
      [
        [
          chip.name,
          f'{chip.flops / 1e12:.0f}',
          f'{chip.memory / 1e9:.0f} GB',
          f'{chip.memory_rate / 1e9:.0f}',
          f'{chip.link_rate / 1e9:.0f}',
          f'<{chip.source}>',
        ]
        for chip in CHIPS.values()
      ],
    ),
    'MEMORY': memory_table(kept),
    'COMPILERS': compilers_table(kept),
    'TIMES': time_table(kept),
    'FLOPS': check_flops(kept),
    'SCALING': scaling_table(kept),
    'RUNS': runs_table(kept),
    'VERSIONS': kept['versions'],
    'PAPER': paper_sentence(kept),
  }
  for name, table in tables.items():
    text = text.replace(f'{{{name}}}', table)
  return text


def _table(header, rows):
  return '\n'.join(
    f'| {" | ".join(map(str, row))} |'
    for row in (header, ['---'] * len(header), *rows)
  )


def _gib(size):
  return f'{size / GIB:.2f}'


def _mib(size):
  return f'{size / 2**20:.3g}'


def _ms(seconds):
  return f'{1e3 * seconds:.3g}'


def compile_missing(kept, names, save):
  """Compiles programs that are not kept, one process each."""
  flags = '--xla_force_host_platform_device_count=64'
  for name in names:
    if name in kept:
      continue
    result = subprocess.run(
      [sys.executable, '-m', 'benchmarks.scaling_programs', name],
      env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags},
      check=True,
      capture_output=True,
      text=True,
    )
    measured = json.loads(result.stdout)
    kept[measured.pop('program')] = measured
    kept['versions'] = (
      f'jax {jax.__version__}, Python {platform.python_version()}'
    )
    save()


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--task', choices=PAIRS, help='the only task to compile')
  parser.add_argument('--size', help='the only size to compile')
  parser.add_argument(
    '--page', action='store_true', help='compile nothing, write the page'
  )
  arguments = parser.parse_args()
  path = RESULTS / 'scaling.json'
  kept = json.loads(path.read_text()) if path.exists() else {}

  def save():
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + '\n')

  if not arguments.page:
    names = [
      name
      for name in programs()
      if (arguments.task in (None, name.split(':')[0]))
      and (arguments.size in (None, name.split(':')[1]))
    ]
    compile_missing(kept, names, save)
  (RESULTS / 'scaling.md').write_text(page(kept))


if __name__ == '__main__':
  main()
