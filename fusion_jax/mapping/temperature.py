"""Fits the temperature of confidences on labelled pixels of a data set."""

import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from fusion_jax.data import composites, labels, normalize, pipelines
from fusion_jax.data.transforms import pixels as pixel_transforms
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import class_prompts, classify


def calibrate(
  checkpoint: str | os.PathLike[str],
  data: str | os.PathLike[str],
  *,
  which: str | int = 'last',
  split: str = 'val',
  label: str = '',
  prompts: str | os.PathLike[str] = '',
  part: str = '',
  clip: str | os.PathLike[str] = '',
  setting: str = '',
) -> calibration_lib.Calibration:
  """Fits the temperature of a checkpoint's classes and stores it there.

  Maps find it in the checkpoint's calibration.json by the names of the classes.
  Use places that training has not seen.

  Args:
    checkpoint: folder of the model, see `class_prompts.load_classifier`.
    data: folder of a prepared data set with labels.
    which: checkpoint to load: 'last', 'best' or the number of a step.
    split: split of the data set.
    label: label whose classes have the names of the prompts' classes, such as
      'land_cover'; '' for the one of a classifier.
    prompts: file of texts or of prompt vectors, see `class_prompts.find`.
    part: table of a JSON file of prompts, see `prompt_files.read`.
    clip: folder of a converted CLIP, see `class_prompts.find`.
    setting: time steps that the model sees, see `classify.Classifier`.

  Returns:
    The temperature with its calibration errors.

  Raises:
    ValueError: if the label is not named, no class of the prompts has the
      name of one of the label, or too few pixels are labelled.
  """
  classifier = class_prompts.load_classifier(
    checkpoint,
    which=which,
    prompts=prompts,
    part=part,
    clip=clip,
    setting=setting,
    temperature=1.0,
  )
  label = label or classifier.label
  if not label:
    raise ValueError('Name the label with --label, such as land_cover.')
  scores, truth = _score(classifier, data, split, label)
  calibration = calibration_lib.fit(
    scores, truth, classifier.classes.names, f'{data} ({split})'
  )
  path = calibration_lib.write(checkpoint, calibration)
  logging.info('%s It is in %s.', _describe(calibration), path)
  if calibration_lib.is_uncertain(calibration):
    logging.warning(
      '%d pixels do not tell the temperature well; take more.',
      calibration.num_pixels,
    )
  return calibration


def _describe(calibration: calibration_lib.Calibration) -> str:
  return (
    f'Temperature {calibration.temperature:.3f}'
    f'{calibration_lib.interval_text(calibration)} from '
    f'{calibration.num_pixels} pixels: expected calibration error '
    f'{calibration.error_before:.3f} before, {calibration.error:.3f} after.'
  )


def _score(
  classifier: classify.Classifier,
  data: str | os.PathLike[str],
  split: str,
  label: str,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns scores [N, C] at temperature 1 and classes int [N] of pixels."""
  names = pixel_transforms.class_names(normalize.load_statistics(data), label)
  order = _match(names, classifier.classes.names, label)
  source = pipelines.open_source(data, split)
  if not len(source) or 'pixels' not in source[0]:
    raise ValueError(
      f'The split {split!r} of {data} has no pixels; name a data set of '
      'labelled pixels, such as fusion-jax prepare sen4map makes.'
    )
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
  return np.concatenate(scores), np.concatenate(truth)


def _match(
  names: Sequence[str], classes: Sequence[str], label: str
) -> np.ndarray:
  """Returns indices into `classes` of K names, int [K + 1]; -1 for none.

  The last entry is -1, so that index -1 of a pixel without a label stays -1.
  """
  by_name = {name.lower(): i for i, name in enumerate(classes)}
  order = [by_name.get(name.lower(), labels.NONE) for name in names]
  if max(order) < 0:
    raise ValueError(
      f'No class has the name of one of {label}: '
      f'{", ".join(classes)} against {", ".join(names)}.'
    )
  return np.array([*order, labels.NONE])
