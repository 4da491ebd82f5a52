"""Finds the classes of a map, from prompts or from the model's classifier."""

import os
from typing import Any

import numpy as np

from fusion_jax import inference
from fusion_jax.data import prompt_files
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import classify, validation
from fusion_jax.ops import zero_shot


def load_classifier(
  checkpoint: str | os.PathLike[str],
  *,
  which: str | int = 'last',
  prompts: str | os.PathLike[str] = '',
  part: str = '',
  clip: str | os.PathLike[str] = '',
  setting: str = '',
  temperature: float = 0.0,
  batch_size: int = 0,
) -> classify.Classifier:
  """Loads a pixel model with the classes of a map.

  Args:
    checkpoint: work directory of a run of configs/align_pixels.py, or a
      converted encoder of pixels.
    which: checkpoint to load: 'last', 'best' or the number of a step.
    prompts: file of texts or of prompt vectors, see `find`.
    part: table of a JSON file of prompts, see `prompt_files.read`.
    clip: folder of a converted CLIP that reads the texts, see `find`.
    setting: time steps of the year that the model sees, see
      `classify.Classifier`.
    temperature: temperature of the softmax, see `find`.
    batch_size: pixels per device and call; 0 takes a size that suits it.

  Raises:
    ValueError: if the checkpoint holds no model of pixels, or as `find`.
  """
  model = inference.load_as(
    inference.PixelModel, checkpoint, which, use='a map'
  )
  classes, calibration = find(
    model,
    checkpoint,
    prompts=prompts,
    part=part,
    clip=clip,
    temperature=temperature,
  )
  classifier = classify.Classifier(
    model,
    classes,
    setting=setting,
    batch_size=batch_size,
    calibration=calibration,
  )
  classifier.validation = validation.describe(
    checkpoint, model, classes.names, classifier.setting
  )
  return classifier


def find(
  model: Any,
  checkpoint: str | os.PathLike[str],
  *,
  prompts: str | os.PathLike[str] = '',
  part: str = '',
  clip: str | os.PathLike[str] = '',
  temperature: float = 0.0,
) -> tuple[classify.Classes, calibration_lib.Calibration | None]:
  """Returns the classes, and the calibration of the checkpoint for them.

  Args:
    model: `pixel_model.PixelModel`.
    checkpoint: folder of the model.
    prompts: file of texts or of prompt vectors (data/prompt_files.py); '' for
      the classes of a classifier.
    part: table of a JSON file of prompts, see `prompt_files.read`.
    clip: folder of a converted CLIP that reads the texts; not needed where
      the file has vectors.
    temperature: temperature of the softmax; 0 takes the one that was fitted
      on labelled pixels (`fusion-jax calibrate`), or 1 without.

  Returns:
    The classes; and the calibration that the temperature is from, or None.

  Raises:
    ValueError: for prompts as in `prompt_files.read`, texts without CLIP, or
      a model that has no classifier and gets no prompts.
  """
  names, vectors = model.classes, None
  if prompts:
    read = prompt_files.read(
      prompts, part=part, width=model.encoder.output_width
    )
    embed = None
    if clip:
      embed = inference.load_as(
        inference.ClipModel, clip, use='reading texts'
      ).embed_texts
    read = read.with_vectors(embed)
    assert read.vectors is not None
    names = read.classes
    vectors = np.asarray(
      zero_shot.class_vectors(read.vectors, np.array(read.class_of), len(names))
    )
  calibration = None if temperature else calibration_lib.read(checkpoint, names)
  if calibration:
    temperature = calibration.temperature
  classes = classify.Classes(tuple(names), vectors, temperature or 1.0)
  return classes, calibration
