"""The classes of a map: those of prompts, or of the model's own classifier."""

import numpy as np

import fusion_jax
from fusion_jax.data import prompt_files
from fusion_jax.mapping import calibration as calibration_lib
from fusion_jax.mapping import classify
from fusion_jax.ops import zero_shot


def find(model, checkpoint, *, prompts='', part='', clip='', temperature=0.0):
  """The classes, and the calibration that the checkpoint has for them.

  Args:
    model: `pixel_model.PixelModel`.
    checkpoint: its folder.
    prompts: file of texts or of prompt vectors (data/prompt_files.py); '' for
      the classes of a classifier.
    part: of a JSON file, see there.
    clip: folder of a converted CLIP that reads the texts; not needed where
      the file has vectors.
    temperature: of the softmax; 0: as fitted on labelled pixels
      (`python -m fusion_jax.calibrate`), else 1.

  Returns:
    (`classify.Classes`, `calibration.Calibration` or None).

  Raises:
    ValueError: for prompts as in `prompt_files.read`, texts without CLIP, or
      a model that has no classifier and gets no prompts.
  """
  names, vectors = model.classes, None
  if prompts:
    read = prompt_files.read(
      prompts, part=part, width=model.encoder.output_width
    )
    embed = fusion_jax.load(clip).embed_texts if clip else None
    read = read.with_vectors(embed)
    names, vectors = (
      read.classes,
      np.asarray(
        zero_shot.class_vectors(
          read.vectors, np.array(read.class_of), len(read.classes)
        )
      ),
    )
  found = None if temperature else calibration_lib.read(checkpoint, names)
  if found:
    temperature = found.temperature
  return classify.Classes(tuple(names), vectors, temperature or 1.0), found
