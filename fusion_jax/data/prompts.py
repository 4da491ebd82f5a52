"""Texts that describe classes, with or without their vectors.

Where no CLIP is at hand, vectors from a file stand in for its text tower; see
data/prompt_files.py.
"""

import dataclasses
import json
import pathlib

import numpy as np

_TEMPLATES = pathlib.Path(__file__).with_name('prompts') / 'templates.json'


@dataclasses.dataclass(frozen=True)
class Prompts:
  """N prompts of C classes.

  Attributes:
    classes: C names, in the order of their indices.
    texts: N texts.
    class_of: N indices, the class of every text.
    vectors: [N, D] float32, of any length; None where a CLIP has to make them.
  """

  classes: tuple[str, ...]
  texts: tuple[str, ...]
  class_of: tuple[int, ...]
  vectors: np.ndarray | None = None

  def __post_init__(self):
    _check_texts(self)
    if self.vectors is not None:
      _check_vectors(self)

  def with_vectors(self, embed_texts):
    """The same with vectors.

    Args:
      embed_texts: list of texts -> [N, D], such as of a loaded CLIP; None if
        there is none.

    Raises:
      ValueError: if there is neither a CLIP nor a vector.
    """
    if self.vectors is not None:
      return self
    if embed_texts is None:
      raise ValueError(
        'These prompts are texts alone, and no CLIP is given to read them. '
        'Name a converted one (python -m fusion_jax.convert clip), or give a '
        'file of prompt vectors (.npz or .safetensors).'
      )
    vectors = np.asarray(embed_texts(list(self.texts)), np.float32)
    return dataclasses.replace(self, vectors=vectors)


def template_sets():
  """{name: templates} of TimeSenCLIP; '{}' stands for the class."""
  return {
    name: tuple(templates)
    for name, templates in json.loads(_TEMPLATES.read_text())['sets'].items()
  }


def from_classes(classes, templates=('{}',)):
  """Prompts of class names: each in every template.

  Args:
    classes: names, such as of `labels.classes`.
    templates: texts with '{}'; or the name of one of `template_sets`.

  Raises:
    ValueError: if there is no such set, a template has no '{}', or a class
      stands there twice.
  """
  if isinstance(templates, str):
    sets = template_sets()
    if templates not in sets:
      raise ValueError(
        f'There is no set of templates {templates!r}; there are '
        f'{", ".join(sets)}.'
      )
    templates = sets[templates]
  for template in templates:
    if '{}' not in template:
      raise ValueError(f'The template {template!r} has no {{}} for the class.')
  return Prompts(
    tuple(classes),
    tuple(
      template.replace('{}', name) for name in classes for template in templates
    ),
    tuple(i for i in range(len(classes)) for _ in templates),
  )


def from_texts(table, vectors=None):
  """Prompts of {class: list of texts}; vectors in that order."""
  names = tuple(table)
  return Prompts(
    names,
    tuple(text for texts in table.values() for text in texts),
    tuple(i for i, texts in enumerate(table.values()) for _ in texts),
    vectors,
  )


def doubled_texts(texts):
  """Texts that come again, as CLIP's tokenizer sees them."""
  seen, doubled = set(), []
  for text in texts:
    key = ' '.join(text.lower().split())
    if key in seen:
      doubled.append(text)
    seen.add(key)
  return doubled


def _check_texts(prompts):
  strange = [
    x for x in (*prompts.classes, *prompts.texts) if not isinstance(x, str)
  ]
  if strange:
    raise ValueError(f'classes and texts that are no text: {strange[:5]}.')
  empty = sorted(
    set(prompts.classes) - {prompts.classes[i] for i in prompts.class_of}
  )
  empty += [
    prompts.classes[i]
    for i, text in zip(prompts.class_of, prompts.texts)
    if not text.strip()
  ]
  if not prompts.classes:
    raise ValueError('there are no classes.')
  if not all(name.strip() for name in prompts.classes):
    raise ValueError('a class has no name.')
  if empty:
    raise ValueError(
      f'Classes without a prompt, or with an empty one: {empty}'
      '; describe them or take them out.'
    )
  if doubled := doubled_texts(prompts.classes):
    raise ValueError(f'Classes that stand there twice: {doubled}.')
  if doubled := doubled_texts(prompts.texts):
    raise ValueError(
      f'Prompts that stand there twice, capitals and spaces aside: {doubled}'
      '; they would count double, or belong to two classes.'
    )


def _check_vectors(prompts):
  vectors = prompts.vectors
  if vectors.ndim != 2 or len(vectors) != len(prompts.texts):
    raise ValueError(
      f'vectors are {vectors.shape} for {len(prompts.texts)} '
      'texts; wanted is one row a text.'
    )
  bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
  if bad.any():
    raise ValueError(
      f'vectors that are zero or not finite: those of '
      f'{[prompts.texts[i] for i in np.flatnonzero(bad)[:5]]}.'
    )
