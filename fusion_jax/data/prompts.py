"""Texts that describe classes, with or without their vectors.

Where no CLIP is available, vectors from a file replace its text tower; see
data/prompt_files.py.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

_TEMPLATES = pathlib.Path(__file__).with_name('prompts') / 'templates.json'


@dataclasses.dataclass(frozen=True)
class Prompts:
  """N prompts of C classes.

  Attributes:
    classes: names of the C classes, in the order of their indices.
    texts: N texts.
    class_of: index of the class of every text, N numbers.
    vectors: [N, D] float32, one vector for each text, of any length; None if a
      CLIP has to compute them.
  """

  classes: tuple[str, ...]
  texts: tuple[str, ...]
  class_of: tuple[int, ...]
  vectors: np.ndarray | None = None

  def __post_init__(self) -> None:
    _check_texts(self)
    if self.vectors is not None:
      _check_vectors(self, self.vectors)

  def with_vectors(
    self, embed_texts: Callable[[list[str]], ArrayLike] | None
  ) -> 'Prompts':
    """Returns these prompts with vectors, computed if they have none.

    Args:
      embed_texts: function from a list of N texts to their vectors [N, D], such
        as that of a loaded CLIP; None if there is none.

    Raises:
      ValueError: if the prompts have no vectors and `embed_texts` is None.
    """
    if self.vectors is not None:
      return self
    if embed_texts is None:
      raise ValueError(
        'These prompts have texts but no vectors, and there is no CLIP to '
        'compute them. Name a converted one (python -m fusion_jax.convert '
        'clip), or give a file of prompt vectors (.npz or .safetensors).'
      )
    vectors = np.asarray(embed_texts(list(self.texts)), np.float32)
    return dataclasses.replace(self, vectors=vectors)


def template_sets() -> dict[str, tuple[str, ...]]:
  """Returns the sets of templates of TimeSenCLIP; '{}' stands for the class.

  Returns:
    {name of a set: its templates}.
  """
  return {
    name: tuple(templates)
    for name, templates in json.loads(_TEMPLATES.read_text())['sets'].items()
  }


def from_classes(
  classes: Sequence[str], templates: str | Sequence[str] = ('{}',)
) -> Prompts:
  """Returns prompts of class names: each name in every template.

  Args:
    classes: names of the classes, such as those of `labels.classes`.
    templates: texts with '{}' in place of the class; or the name of one of the
      `template_sets`.

  Raises:
    ValueError: if there is no such set, if a template has no '{}', or if a
      class is listed twice.
  """
  if isinstance(templates, str):
    sets = template_sets()
    if templates not in sets:
      raise ValueError(
        f'There is no set of templates {templates!r}; choose one of '
        f'{", ".join(sets)}.'
      )
    templates = sets[templates]
  for template in templates:
    if '{}' not in template:
      raise ValueError(
        f'The template {template!r} has no {{}} for the class; put {{}} where '
        'the name of the class belongs.'
      )
  return Prompts(
    tuple(classes),
    tuple(
      template.replace('{}', name) for name in classes for template in templates
    ),
    tuple(i for i in range(len(classes)) for _ in templates),
  )


def from_texts(
  table: Mapping[str, Sequence[str]], vectors: np.ndarray | None = None
) -> Prompts:
  """Returns prompts from a table of texts.

  Args:
    table: {name of a class: its texts}.
    vectors: [N, D] float32, one vector for each text in the order of the table;
      None if there are none.

  Raises:
    ValueError: if a class has no text, if a class or a text is listed twice, or
      if the vectors do not match the texts.
  """
  names = tuple(table)
  return Prompts(
    names,
    tuple(text for texts in table.values() for text in texts),
    tuple(i for i, texts in enumerate(table.values()) for _ in texts),
    vectors,
  )


def doubled_texts(texts: Iterable[str]) -> list[str]:
  """Returns texts that repeat an earlier one, as CLIP's tokenizer sees them.

  Case and the number of spaces do not matter.
  """
  seen, doubled = set(), []
  for text in texts:
    key = ' '.join(text.lower().split())
    if key in seen:
      doubled.append(text)
    seen.add(key)
  return doubled


def _check_texts(prompts: Prompts) -> None:
  not_texts = [
    x for x in (*prompts.classes, *prompts.texts) if not isinstance(x, str)
  ]
  if not_texts:
    raise ValueError(
      f'Classes and texts must be strings, but some are no text: '
      f'{not_texts[:5]}.'
    )
  empty = sorted(
    set(prompts.classes) - {prompts.classes[i] for i in prompts.class_of}
  )
  empty += [
    prompts.classes[i]
    for i, text in zip(prompts.class_of, prompts.texts)
    if not text.strip()
  ]
  if not prompts.classes:
    raise ValueError('There are no classes; give at least one.')
  if not all(name.strip() for name in prompts.classes):
    raise ValueError('A class has no name; give it one or take it out.')
  if empty:
    raise ValueError(
      f'Some classes are without a prompt, or have an empty one: {empty}; '
      'describe them or take them out.'
    )
  if doubled := doubled_texts(prompts.classes):
    raise ValueError(
      f'Some classes are listed twice: {doubled}; list each one once.'
    )
  if doubled := doubled_texts(prompts.texts):
    raise ValueError(
      f'Some prompts are listed twice, apart from case and spaces: {doubled}; '
      'they would count double, or belong to two classes. Keep each one once.'
    )


def _check_vectors(prompts: Prompts, vectors: np.ndarray) -> None:
  if vectors.ndim != 2 or len(vectors) != len(prompts.texts):
    raise ValueError(
      f'The vectors are {vectors.shape} for {len(prompts.texts)} texts; give '
      'one row for each text.'
    )
  bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
  if bad.any():
    raise ValueError(
      'Some vectors are zero or not finite, those of '
      f'{[prompts.texts[i] for i in np.flatnonzero(bad)[:5]]}; embed these '
      'texts again.'
    )
