"""`fusion-jax calibrate`: confidences that mean something."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from fusion_jax.commands import arguments

COMMAND = 'fusion-jax calibrate'


@dataclasses.dataclass(frozen=True)
class Arguments:
  r"""Makes confidences mean something: fits a temperature on labelled pixels.

    fusion-jax calibrate --checkpoint RUN --data DATA \
        --label land_cover --prompts prompts.npz
    fusion-jax calibrate --checkpoint SUPERVISED_RUN --data DATA

  Adds it to calibration.json of the checkpoint, where fusion-jax map finds it
  by the names of the classes. Take places that training has not seen: the
  validation split is the default.

  Attributes:
    checkpoint: run of configs/align_pixels.py, or a converted encoder
    data: prepared data set with labels
    which: checkpoint: 'last', 'best' or a step
    split: split of the data set
    label: label, such as land_cover (default: a classifier's own)
    prompts: classes as texts (.json, .csv) or as prompt vectors (.npz,
      .safetensors); not for classifiers
    part: table of a JSON file of prompts
    clip: converted CLIP that reads the texts
    setting: steps of the year that the model sees (default: as trained)
  """

  checkpoint: arguments.Folder
  data: arguments.Folder
  which: arguments.Which = 'last'
  split: str = 'val'
  label: str = ''
  prompts: arguments.File | None = None
  part: str = ''
  clip: arguments.Folder | None = None
  setting: Literal['monthly', 'quarterly', 'single'] | None = None


def main(argv: Sequence[str]) -> None:
  """Fits the temperature."""
  args = arguments.parse(COMMAND, argv, Arguments)
  from fusion_jax.mapping import temperature

  temperature.calibrate(
    args.checkpoint,
    args.data,
    which=args.which,
    split=args.split,
    label=args.label,
    prompts=args.prompts or '',
    part=args.part,
    clip=args.clip or '',
    setting=args.setting or '',
  )
