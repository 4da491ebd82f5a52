"""CLIP's vectors of class names or of texts of one's own."""

import dataclasses
import pathlib
from typing import TYPE_CHECKING

from absl import logging

if TYPE_CHECKING:
  from fusion_jax.data import prompts
  from fusion_jax.inference import clip_model

KINDS = ('validation', 'class_names', 'paper')  # Sets of templates.


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptVectors:
  """CLIP's vectors of names of classes, or of your own texts.

  Without --source, the names of the classes of every task in TimeSenCLIP's
  templates are embedded: {task}.npz selects models, {task}.class_names.npz and
  {task}.paper.npz are for the report. With it, the texts of one task go to
  {task}.{kind}.npz.

  Attributes:
    out: Folder of the files; configs/align_pixels.py looks for them in the
      folder prompts of its data set.
    clip: Folder of a converted CLIP, the one that embedded the photos.
    tasks: Names of the tasks whose classes are embedded (default: all).
    source: JSON or CSV file of texts of one task, {class: [texts]}, in place
      of the names of the classes.
    part: Key of the table of a JSON file that has several.
    kind: Name of the texts of --source, such as descriptive.
    all_classes: Takes all classes as candidates (12 bioregions, as the public
      code), not those of the paper (8).
    pretty: Writes 'Black Sea' for 'BlackSea' in the texts; the public code
      does not.
  """

  out: str
  clip: str
  tasks: tuple[str, ...] = ()
  source: str = ''
  part: str = ''
  kind: str = ''
  all_classes: bool = False
  pretty: bool = False

  def __post_init__(self) -> None:
    object.__setattr__(self, 'tasks', tuple(self.tasks))
    if self.source and (len(self.tasks) != 1 or not self.kind):
      raise ValueError(
        'A file of texts belongs to one task and has a name: give --tasks and '
        '--kind.'
      )


def write_prompt_vectors(step: PromptVectors) -> list[pathlib.Path]:
  """Writes files of prompt vectors (`data.prompt_files`).

  Args:
    step: which texts, which CLIP, and where the vectors go.

  Returns:
    Paths of the files.

  Raises:
    ValueError: for an unknown task or class, a model that is no CLIP, or texts
      that `prompt_files.read` or the CLIP refuses.
  """
  from fusion_jax.data import labels, prompt_files

  if step.source:
    (task,) = step.tasks
    texts = {(task, step.kind): _read_own(step, task)}
  else:
    texts = {
      (task, kind): _name_classes(step, task, kind)
      for task in step.tasks or labels.TASKS
      for kind in KINDS
    }
  model = load_clip(step.clip)
  out = pathlib.Path(step.out)
  out.mkdir(parents=True, exist_ok=True)
  written = []
  for (task, name), prompts in texts.items():
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


def _name_classes(
  step: PromptVectors, task: str, kind: str
) -> 'prompts.Prompts':
  """The classes of a task in a set of templates."""
  from fusion_jax.data import labels, prompts

  names = labels.classes(task) if step.all_classes else labels.in_paper(task)
  texts = [labels.pretty(name) if step.pretty else name for name in names]
  return dataclasses.replace(prompts.from_classes(texts, kind), classes=names)


def _read_own(step: PromptVectors, task: str) -> 'prompts.Prompts':
  """The texts of a file, without its vectors.

  Raises:
    ValueError: for a class that the task does not have.
  """
  from fusion_jax.data import labels, prompt_files

  prompts = prompt_files.read(step.source, part=step.part)
  for name in prompts.classes:
    try:
      labels.of_name(task, name)
    except ValueError as error:
      raise ValueError(f'{step.source}: {error}') from error
  return dataclasses.replace(prompts, vectors=None)


def load_clip(clip: str) -> 'clip_model.ClipModel':
  """Loads a converted CLIP.

  Args:
    clip: folder of the model.

  Raises:
    ValueError: if the folder holds another model.
  """
  from fusion_jax import inference

  return inference.load_as(inference.ClipModel, clip, use='embedding texts')
