r"""The whole study of TimeSenCLIP on the simulated Earth, over seeds.

  python -m benchmarks.align_pixels --workdir DIR [--seeds 0,1,2] \
      [--augment tsdrop,none] [--supervised land_cover:monthly,...] \
      [--sides 1] [--steps 0] [--table]

Trains what is missing in DIR (a killed study goes on), then prints tables as
Markdown: zero-shot beside the supervised bound, retrieval, with and without
temporal dropout, and where several sides or augmentations were run, Figs. 3
and 4, Tables 5 and 6. A seed is that of the training; the Earth is one.
"""

import argparse
import json
import pathlib
import time

from absl import flags, logging

from fusion_jax import runs as runs_lib
from fusion_jax.configs import align_pixels as config_lib
from fusion_jax.evals import (
  ablation,
  alignment_tables,
  retrieval,
  spatial_context,
  tables,
)

LABELS = ('land_cover', 'land_use', 'eunis', 'bioregion', 'crops')
SETTINGS = ('single', 'quarterly', 'monthly')
SPLIT = 'test'


def run(workdir, name, argument, seed, steps):
  """{path: number} of a run, trained if it is not there yet."""
  folder = workdir / name / str(seed)
  if not (folder / 'metrics.json').exists():
    config = config_lib.get_config(argument)
    config.seed = seed
    config.data.dir = str(workdir / f'data_{config.model.side}')
    if steps:
      config.num_steps = steps
    cpu, clock = time.process_time(), time.perf_counter()
    runs_lib.run(config, folder)
    (folder / 'time.json').write_text(
      json.dumps(
        {
          'cpu_s': time.process_time() - cpu,
          'clock_s': time.perf_counter() - clock,
        }
      )
    )
  return json.loads((folder / 'metrics.json').read_text())


def zero_shot_table(aligned, bounds):
  """Zero-shot of every label and setting beside the supervised bound."""
  rows = []
  for label in LABELS:
    for setting in SETTINGS:
      path = alignment_tables.zero_shot_path(SPLIT, setting, label)
      ours = [numbers[path] for numbers in aligned]
      cells = [
        alignment_tables.NAMES[label],
        setting,
        ablation.with_spread(ours),
        ' '.join(tables.number(x) for x in ours),
        *(
          ablation.with_spread([n[f'{path}_{kind}'] for n in aligned])
          for kind in ('normalised', 'by_class')
        ),
      ]
      bound = bounds.get((label, setting))
      if bound:
        most = [numbers[f'{SPLIT}/accuracy'] for numbers in bound]
        share = sum(ours) / len(ours) / (sum(most) / len(most))
        cells += [ablation.with_spread(most), tables.number(share)]
      else:
        cells += ['–', '–']
      rows.append(cells)
  return tables.markdown(
    (
      'label',
      'temporal',
      'zero-shot',
      'by seed',
      'normalised',
      'mean over classes',
      'supervised',
      'share',
    ),
    rows,
  )


def retrieval_table(aligned):
  """Recall@1 without the own pair, against chance."""
  rows = []
  for label in (*LABELS, 'country'):
    path = alignment_tables.recall_path(SPLIT, 'monthly', label, own=False)
    for direction in retrieval.DIRECTIONS:
      name = f'{path}_{direction}@1'
      lows = [
        retrieval.over_chance(numbers, path, direction) for numbers in aligned
      ]
      rows.append(
        [
          alignment_tables.NAMES[label],
          direction.upper(),
          ablation.with_spread([numbers[name] for numbers in aligned]),
          aligned[0][f'{path}_chance@1'],
          ' '.join(tables.number(low, 2) for low in lows),
        ]
      )
  return tables.markdown(
    (
      'label',
      'direction',
      'Recall@1',
      'chance',
      'lower 95 % bound / chance, by seed',
    ),
    rows,
  )


def dropout_table(runs, kinds):
  """Zero-shot of models trained with and without dropping months."""
  rows = []
  for setting in SETTINGS:
    for label in (*LABELS, 'mean'):
      chosen = LABELS if label == 'mean' else (label,)
      cells = [setting, alignment_tables.NAMES.get(label, label)]
      for kind in kinds:
        cells.append(
          ablation.with_spread(
            [
              sum(
                numbers[alignment_tables.zero_shot_path(SPLIT, setting, one)]
                for one in chosen
              )
              / len(chosen)
              for numbers in runs[kind]
            ]
          )
        )
      rows.append(cells)
  return tables.markdown(
    ('tested on', 'label', *(ablation.NAMES[kind] for kind in kinds)), rows
  )


def print_tables(aligned, bounds):
  """All tables that the runs allow.

  Args:
    aligned: {(augmentation, side): list of {path: number}}.
    bounds: {(label, setting): the same}.
  """
  kinds = list(dict.fromkeys(kind for kind, _ in aligned))
  sides = list(dict.fromkeys(side for _, side in aligned))
  first = {kind: aligned[kind, sides[0]] for kind in kinds}
  print(f'### {ablation.NAMES[kinds[0]]}, {sides[0]} x {sides[0]}\n')
  print(zero_shot_table(first[kinds[0]], bounds) + '\n')
  print(retrieval_table(first[kinds[0]]) + '\n')
  if len(kinds) > 1:
    print(dropout_table(first, kinds) + '\n')
    print('As Table 5\n\n' + ablation.table(first, SPLIT, LABELS, 5) + '\n')
    labels = ('land_cover', 'eunis', 'bioregion', 'crops', 'country')
    print('As Table 6\n\n' + ablation.table(first, SPLIT, labels, 6) + '\n')
  if len(sides) > 1:
    by_side = {side: aligned[kinds[0], side] for side in sides}
    for measure in ('zero_shot', *retrieval.DIRECTIONS):
      print(
        f'By spatial context, {measure}\n\n'
        + spatial_context.table(by_side, SPLIT, LABELS, measure)
        + '\n'
      )


def _times(workdir):
  """Rows (run, CPU s, clock s), the mean over seeds."""
  rows = []
  for folder in sorted(workdir.iterdir()):
    found = [
      json.loads(path.read_text())
      for path in sorted(folder.glob('*/time.json'))
    ]
    if found:
      rows.append(
        [
          folder.name,
          len(found),
          *(
            sum(x[key] for x in found) / len(found)
            for key in ('cpu_s', 'clock_s')
          ),
        ]
      )
  return tables.markdown(('run', 'seeds', 'CPU s', 'clock s'), rows)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--seeds', default='0,1,2')
  parser.add_argument('--augment', default='tsdrop,none')
  parser.add_argument('--sides', default='1')
  parser.add_argument(
    '--supervised',
    default='land_cover:monthly',
    help="label:setting,... or 'all'",
  )
  parser.add_argument(
    '--steps',
    type=int,
    default=0,
    help='of the alignment runs (default: as configured)',
  )
  parser.add_argument('--supervised_seeds', default='0,1,2')
  args = parser.parse_args()
  flags.FLAGS.mark_as_parsed()  # Grain reads them.
  logging.set_verbosity(logging.WARNING)
  workdir = pathlib.Path(args.workdir)
  wanted = args.supervised
  if wanted == 'all':
    wanted = ','.join(
      f'{label}:{setting}' for label in LABELS for setting in SETTINGS
    )
  aligned, bounds = {}, {}
  for seed in map(int, args.seeds.split(',')):
    for side in map(int, args.sides.split(',')):
      for kind in args.augment.split(','):
        aligned.setdefault((kind, side), []).append(
          run(
            workdir,
            f'{kind}_{side}',
            f'augment={kind},side={side}',
            seed,
            args.steps,
          )
        )
  for pair in filter(None, wanted.split(',')):
    label, setting = pair.split(':')
    for seed in map(int, args.supervised_seeds.split(',')):
      bounds.setdefault((label, setting), []).append(
        run(
          workdir,
          f'supervised_{label}_{setting}',
          f'supervised={label},setting={setting}',
          seed,
          0,
        )
      )
  print_tables(aligned, bounds)
  print(_times(workdir))


if __name__ == '__main__':
  main()
