"""The two files a run ends with: report.md to read, metrics.json to compare."""

import importlib.metadata
import json
import math
import pathlib
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence

import jax

import fusion_jax
from fusion_jax.evals import tables

SIMULATED = (
  'All figures here come from the **simulated Earth**: images and '
  'weather are made by the simulator of this package, not measured.'
)
# Markdown text, or a picture as (path, caption).
Block = str | tuple[pathlib.Path, str]
Section = tuple[str, Sequence[Block]]  # Heading, and what stands below it.
_PACKAGES = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'grain',
  'numpy',
)


def write(
  workdir: str | pathlib.Path,
  title: str,
  metrics: Mapping[str, float],
  *,
  sections: Sequence[Section] = (),
  duration_s: float | None = None,
  simulated: bool = False,
  command: str | None = None,
) -> pathlib.Path:
  """Writes `report.md` and `metrics.json`.

  Args:
    workdir: folder of the run; pictures of the sections lie in it.
    title: title of the report.
    metrics: {path: number}. What is not finite becomes null in the JSON.
    sections: (heading, blocks); a block is Markdown text, or
      (path of a picture, caption).
    duration_s: seconds that the run took; None leaves them out.
    simulated: whether the figures come from the simulated Earth.
    command: command line that started the run; by default that of this
      process.

  Returns:
    Path of the report.
  """
  workdir = pathlib.Path(workdir)
  workdir.mkdir(parents=True, exist_ok=True)
  lines = [f'# {title}', *([SIMULATED] if simulated else [])]
  for heading, blocks in sections:
    lines.append(f'## {heading}')
    lines.extend(_block(block, workdir) for block in blocks)
  lines += [
    '## This run',
    tables.markdown(('what', 'value'), facts(duration_s, command)),
  ]
  path = workdir / 'report.md'
  path.write_text('\n\n'.join(lines) + '\n')
  write_metrics(workdir, metrics)
  return path


def write_metrics(
  workdir: str | pathlib.Path, metrics: Mapping[str, float]
) -> None:
  """Writes `metrics.json`, sorted by path.

  Args:
    workdir: folder of the run.
    metrics: {path: number}. What is not finite becomes null.
  """
  numbers = {name: float(value) for name, value in sorted(metrics.items())}
  numbers = {
    name: value if math.isfinite(value) else None
    for name, value in numbers.items()
  }
  path = pathlib.Path(workdir) / 'metrics.json'
  path.write_text(json.dumps(numbers, indent=2) + '\n')


def facts(
  duration_s: float | None = None, command: str | None = None
) -> list[tuple[str, str]]:
  """Returns rows (what, value) that tell how the figures came about.

  Args:
    duration_s: seconds that the run took; None leaves them out.
    command: command line that started the run; by default that of this
      process.
  """
  devices = jax.devices()
  rows = [
    ('command', f'`{command or own_command()}`'),
    ('date', time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())),
    (
      'devices',
      f'{len(devices)} x {devices[0].device_kind}, '
      f'{jax.process_count()} process(es), '
      f'{platform.machine()}',
    ),
    (
      'versions',
      ', '.join(
        [
          f'Python {platform.python_version()}',
          f'fusion_jax {fusion_jax.__version__}',
          *(f'{name} {_version(name)}' for name in _PACKAGES),
        ]
      ),
    ),
  ]
  if duration_s is not None:
    minutes, seconds = divmod(round(duration_s), 60)
    rows.append(('duration', f'{minutes} min {seconds} s'))
  return rows


def own_command() -> str:
  """Returns the command line of this process, as one would type it."""
  spec = getattr(sys.modules.get('__main__'), '__spec__', None)
  program = f'-m {spec.name}' if spec else shlex.quote(sys.argv[0])
  return ' '.join(['python', program, *map(shlex.quote, sys.argv[1:])])


def _block(block: Block, workdir: pathlib.Path) -> str:
  if isinstance(block, str):
    return block
  path, caption = block
  path = pathlib.Path(path)
  path = path.relative_to(workdir) if path.is_relative_to(workdir) else path
  return f'![{caption}]({path.as_posix()})\n\n{caption}'


def _version(name: str) -> str:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return 'not installed'
