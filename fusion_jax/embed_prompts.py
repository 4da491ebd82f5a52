r"""Turns class names, or texts of one's own, into CLIP's vectors.

  python -m fusion_jax.prepare prompts --clip DIR --out DATA/prompts
      Names of the classes of every task in TimeSenCLIP's templates, where
      configs/align_pixels.py looks for them: {task}.npz selects models,
      {task}.class_names.npz and {task}.paper.npz are for the report.
  python -m fusion_jax.prepare prompts --clip DIR --out DATA/prompts \
      --source crops.json --task crops --kind descriptive
      {class: [texts]} of one task, to {task}.{kind}.npz.
"""

import argparse
import dataclasses
import pathlib

from absl import flags, logging

from fusion_jax.data import labels, prompt_files
from fusion_jax.data import prompts as prompts_lib

KINDS = ('validation', 'class_names', 'paper')  # Sets of templates.


def embed(
  out,
  clip,
  *,
  tasks=labels.TASKS,
  source='',
  part='',
  kind='',
  all_classes=False,
  pretty=False,
):
  """Writes files of prompt vectors (data/prompt_files.py).

  Args:
    out: folder of the files.
    clip: folder of a converted CLIP, the one that embedded the photos.
    tasks: of `labels.TASKS`.
    source: file of texts of one task; '' for the names of the classes.
    part: of a JSON file, see `prompt_files.read`.
    kind: name of the texts of `source`.
    all_classes: take all classes as candidates (12 bioregions, as the public
      code), not those of the paper (8).
    pretty: write 'Black Sea' for 'BlackSea' in the texts; the public code
      does not.

  Returns:
    Paths of the files.

  Raises:
    ValueError: for an unknown task or class, a source for several tasks, or
      texts that `prompt_files.read` or the CLIP refuses.
  """
  if source and (len(tasks) != 1 or not kind):
    raise ValueError(
      'A file of texts belongs to one task and has a name: give '
      '--task and --kind.'
    )
  if source:
    made = {(tasks[0], kind): _own(source, part, tasks[0])}
  else:
    made = {
      (task, kind): _names(task, kind, all_classes, pretty)
      for task in tasks
      for kind in KINDS
    }
  model = _load(clip)
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  written = []
  for (task, name), prompts in made.items():
    end = '' if name == 'validation' else f'.{name}'
    written.append(out / f'{task}{end}.npz')
    prompt_files.write(written[-1], prompts.with_vectors(model.embed_texts))
    logging.info(
      '%s: %d texts of %d classes.',
      written[-1],
      len(prompts.texts),
      len(prompts.classes),
    )
  return written


def _names(task, kind, all_classes, pretty):
  """`Prompts` of the classes of a task in a set of templates."""
  names = labels.classes(task) if all_classes else labels.in_paper(task)
  shown = [labels.pretty(name) if pretty else name for name in names]
  return dataclasses.replace(
    prompts_lib.from_classes(shown, kind), classes=names
  )


def _own(source, part, task):
  """`Prompts` of a file, without its vectors, of classes that there are."""
  prompts = prompt_files.read(source, part=part)
  for name in prompts.classes:
    try:
      labels.of_name(task, name)
    except ValueError as error:
      raise ValueError(f'{source}: {error}') from error
  return dataclasses.replace(prompts, vectors=None)


def _load(clip):
  from fusion_jax import inference

  model = inference.load(clip)
  if not hasattr(model, 'embed_texts'):
    raise ValueError(
      f'{clip} is no CLIP; convert one (python -m fusion_jax.convert clip).'
    )
  return model


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.prepare prompts',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--out', required=True, metavar='DIR', help='folder to write')
  add(
    '--clip',
    required=True,
    metavar='DIR',
    help='converted CLIP (python -m fusion_jax.convert clip)',
  )
  add(
    '--task',
    dest='tasks',
    nargs='+',
    default=labels.TASKS,
    metavar='NAME',
    help=f'of {", ".join(labels.TASKS)} (default: all)',
  )
  add(
    '--source',
    default='',
    metavar='FILE',
    help='texts of one task (.json, .csv), in place of the names of classes',
  )
  add('--part', default='', metavar='KEY', help='table of a JSON file')
  add(
    '--kind',
    default='',
    metavar='NAME',
    help='name of these texts, such as descriptive',
  )
  add(
    '--all_classes',
    action='store_true',
    help='all 12 bioregions, as the public code; the paper has 8',
  )
  add('--pretty', action='store_true', help="'Black Sea' for 'BlackSea'")
  return parser


def main(argv):
  """Runs the command."""
  arguments = vars(_parser().parse_args(argv))
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  embed(**arguments)
