"""Vectors of prompts: class names and texts to files that evaluations read."""

import json
import types

import numpy as np
import pytest

from fusion_jax import datasets, inference
from fusion_jax.data import labels, prompt_files
from fusion_jax.evals import zero_shot


def write(out, clip='clip', **fields):
  return datasets.write_prompt_vectors(
    datasets.PromptVectors(out=str(out), clip=clip, **fields)
  )


@pytest.fixture(autouse=True)
def clip(monkeypatch):
  """A CLIP whose vectors are lengths of texts."""

  def embed_texts(texts):
    return np.array([[len(text), 1, 2] for text in texts], np.float32)

  def load_as(kind, folder, use):
    if folder != 'clip':
      raise inference.wrong_kind(folder, object(), use, kind)
    return types.SimpleNamespace(embed_texts=embed_texts)

  monkeypatch.setattr(inference, 'load_as', load_as)


def test_names_of_classes_become_files_that_evaluations_read(tmp_path):
  write(tmp_path)
  assert len(list(tmp_path.iterdir())) == 3 * len(labels.TASKS)
  for task in labels.TASKS:
    for end, number in ('', 6), ('.class_names', 1), ('.paper', 1):
      path = tmp_path / f'{task}{end}.npz'
      result = zero_shot.read_classes(path, task, 3, labels.classes(task))
      assert result.names == labels.in_paper(task)
      assert len(prompt_files.read(path).texts) == number * len(result.names)
  texts = prompt_files.read(tmp_path / 'bioregion.paper.npz').texts
  assert texts[2] == 'a centered satellite image of BlackSea'


def test_candidates_and_spelling_can_be_chosen(tmp_path):
  write(tmp_path, tasks=('bioregion',), all_classes=True, pretty=True)
  result = prompt_files.read(tmp_path / 'bioregion.class_names.npz')
  assert result.classes == labels.classes('bioregion')
  assert result.texts[4] == 'Black Sea' and len(result.texts) == 12


def test_texts_of_ones_own_are_embedded_anew(tmp_path):
  path = tmp_path / 'texts.json'
  path.write_text(json.dumps({'Water': ['a lake', 'a long river']}))
  (written,) = write(
    tmp_path, source=str(path), tasks=('land_cover',), kind='descriptive'
  )
  assert written.name == 'land_cover.descriptive.npz'
  np.testing.assert_array_equal(
    prompt_files.read(written).vectors[:, 0], [6, 12]
  )


def test_what_does_not_fit_is_an_error(tmp_path):
  path = tmp_path / 'texts.json'
  path.write_text(json.dumps({'Lava': 'red'}))
  with pytest.raises(ValueError, match='texts.json: .Lava. is no class of'):
    write(tmp_path, source=str(path), tasks=('land_cover',), kind='own')
  with pytest.raises(ValueError, match='--tasks and --kind'):
    write(tmp_path, source=str(path))
  with pytest.raises(ValueError, match="no task 'soil'"):
    write(tmp_path, tasks=('soil',))
  with pytest.raises(
    ValueError,
    match='pixels holds .*; embedding texts needs a CLIP',
  ):
    write(tmp_path, 'pixels')
