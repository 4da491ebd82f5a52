r"""Makes confidences mean something: fits a temperature on labelled pixels.

  python -m fusion_jax.calibrate --checkpoint RUN --data DATA \
      --label land_cover --prompts prompts.npz
  python -m fusion_jax.calibrate --checkpoint SUPERVISED_RUN --data DATA

Adds it to calibration.json of the checkpoint, where map_scene finds it by the
names of the classes. Take places that training has not seen: the validation
split is the default.
"""

import argparse

import numpy as np
from absl import flags, logging

import fusion_jax
from fusion_jax.data import composites, labels, normalize, pipelines
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import class_prompts, classify
from fusion_jax.train import log


def calibrate(
  checkpoint,
  data,
  *,
  which='last',
  split='val',
  label='',
  prompts='',
  part='',
  clip='',
  setting='',
):
  """Fits the temperature of a checkpoint's classes and keeps it there.

  Args:
    checkpoint: folder for `fusion_jax.load`.
    data: prepared data set with labels.
    which: 'last', 'best' or a step.
    split: of the data set.
    label: such as 'land_cover'; '' for the one of a classifier.
    prompts: see `class_prompts.find`, as part and clip. Classes are those of
      the label by name.
    part: likewise.
    clip: likewise.
    setting: see `classify.Classifier`.

  Returns:
    `calibration.Calibration`.

  Raises:
    ValueError: if the label is not named, no class of the prompts has the
      name of one of the label, or no pixel is labelled.
  """
  model = fusion_jax.load(checkpoint, which)
  classes, _ = class_prompts.find(
    model, checkpoint, prompts=prompts, part=part, clip=clip, temperature=1.0
  )
  label = label or model.config.get('label', '')
  if not label:
    raise ValueError('Name the label with --label, such as land_cover.')
  classifier = classify.Classifier(model, classes, setting=setting)
  names = pixel_transforms.class_names(normalize.load_statistics(data), label)
  order = _match(names, classes.names, label)
  source = pipelines.open_source(data, split)
  scores, truth = [], []
  for start in range(0, len(source), classifier.batch_size):
    batch = [
      source[i]
      for i in range(start, min(start + classifier.batch_size, len(source)))
    ]
    images = composites.centre_crop(
      np.stack([x['pixels'] for x in batch]), classifier.side
    )
    images, keep = classifier.prepare(images)
    keep &= np.stack(
      [x.get('valid', np.ones(keep.shape[1], bool)) for x in batch]
    )
    scores.append(classifier.scores(images, keep))
    stored = [int(x[labels.FIELDS.get(label, f'label/{label}')]) for x in batch]
    truth.append(np.where(keep.any(axis=1), order[stored], labels.NONE))
  found = calibration_lib.fit(
    np.concatenate(scores),
    np.concatenate(truth),
    classes.names,
    f'{data} ({split})',
  )
  path = calibration_lib.write(checkpoint, found)
  logging.info(
    'Temperature %.3f from %d pixels: expected calibration error %.3f '
    'before, %.3f after. It is in %s.',
    found.temperature,
    found.num_pixels,
    found.error_before,
    found.error,
    path,
  )
  return found


def _match(names, wanted, label):
  """[C + 1]: index among `wanted` of each name; -1 for none, and for -1."""
  by_name = {name.lower(): i for i, name in enumerate(wanted)}
  order = [by_name.get(name.lower(), labels.NONE) for name in names]
  if max(order) < 0:
    raise ValueError(
      f'No class has the name of one of {label}: '
      f'{", ".join(wanted)} against {", ".join(names)}.'
    )
  return np.array([*order, labels.NONE])  # The last is that of index -1.


def _parser():
  """The command line."""
  parser = argparse.ArgumentParser(
    'python -m fusion_jax.calibrate',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add('--checkpoint', required=True, metavar='DIR', help='the model')
  add(
    '--which',
    default='last',
    metavar='STEP',
    help="'last', 'best' or a step (default: %(default)s)",
  )
  add('--data', required=True, metavar='DIR', help='prepared data set')
  add(
    '--split',
    default='val',
    metavar='NAME',
    help='of it (default: %(default)s)',
  )
  add(
    '--label',
    default='',
    metavar='NAME',
    help="such as land_cover (default: a classifier's own)",
  )
  add(
    '--prompts',
    default='',
    metavar='FILE',
    help='as of map_scene; not for classifiers',
  )
  add('--part', default='', metavar='KEY', help='table of a JSON file')
  add(
    '--clip',
    default='',
    metavar='DIR',
    help='converted CLIP that reads the texts',
  )
  add(
    '--setting',
    default='',
    choices=('monthly', 'quarterly', 'single'),
    help='steps of the year that the model sees (default: as trained)',
  )
  return parser


def main(argv=None):
  flags.FLAGS.mark_as_parsed()  # Or absl warns that it logs too early.
  logging.use_absl_handler()
  log.show_progress()
  calibrate(**vars(_parser().parse_args(argv)))


if __name__ == '__main__':
  main()
