"""Prompts of classes, their files, and what is wrong with some of them."""

import json

import numpy as np
import pytest

from fusion_jax.data import labels, prompt_files, prompts

TABLE = {'Water': ['a lake', 'a river'], 'Woodland': ['tall trees']}


def write_json(path, content):
  path.write_text(json.dumps(content))
  return path


def some_vectors(number=3, width=5):
  return np.random.default_rng(0).normal(size=(number, width)).astype('f')


def test_class_names_fill_templates():
  result = prompts.from_classes(labels.classes('land_cover'), 'LC_Generic')
  assert len(result.classes) == 8 and len(result.texts) == 48
  assert result.texts[7] == 'a land cover photo of a Cropland.'
  assert result.class_of[:7] == (0, 0, 0, 0, 0, 0, 1)


def test_every_set_of_templates_serves_every_task():
  for templates in prompts.template_sets():
    for task in labels.TASKS:
      names = labels.classes(task)
      filled = prompts.from_classes(names, templates)
      assert set(filled.class_of) == set(range(len(names)))


@pytest.mark.parametrize(
  'arguments, message',
  [
    ((['Water'], 'Fancy'), "no set of templates 'Fancy'.*LC_Generic"),
    ((['Water'], ['a lake']), "'a lake' has no {}"),
    ((['Water', 'water'],), r"classes are listed twice: \['water'\]"),
    (([],), 'There are no classes'),
  ],
)
def test_wrong_templates_and_classes_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    prompts.from_classes(*arguments)


def test_json_tables_lists_and_parts_are_read(tmp_path):
  path = write_json(tmp_path / 'a.json', TABLE | {'Grass': 'a meadow'})
  result = prompt_files.read(path)
  assert result.classes == ('Water', 'Woodland', 'Grass')
  assert result.texts == ('a lake', 'a river', 'tall trees', 'a meadow')
  assert result.class_of == (0, 0, 1, 2) and result.vectors is None
  path = write_json(tmp_path / 'b.json', {'tasks': {'land': TABLE}, 'by': 'me'})
  assert prompt_files.read(path, part='tasks/land').classes == tuple(TABLE)
  path = write_json(tmp_path / 'c.json', ['a lake', 'a hill'])
  assert prompt_files.read(path).classes == ('a lake', 'a hill')


def test_csv_files_are_read(tmp_path):
  path = tmp_path / 'a.csv'
  path.write_text(
    'class,text\nWater,a lake\nWoods,trees\nWater,"a river, wide"'
  )
  result = prompt_files.read(path)
  assert result.classes == ('Water', 'Woods') and result.class_of == (0, 1, 0)
  assert result.texts[2] == 'a river, wide'
  path.write_text('code,name\nA,Water\nB,Woods')
  assert prompt_files.read(path).texts == ('Water', 'Woods')


@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
def test_files_of_vectors_there_and_back(tmp_path, ending):
  path = tmp_path / f'vectors.{ending}'
  written = prompts.from_texts(TABLE, some_vectors())
  prompt_files.write(path, written)
  result = prompt_files.read(path, width=5)
  assert (result.classes, result.texts, result.class_of) == (
    written.classes,
    written.texts,
    written.class_of,
  )
  np.testing.assert_array_equal(result.vectors, written.vectors)
  with pytest.raises(ValueError, match=f'vectors.{ending}.*have 5 .* has 512'):
    prompt_files.read(path, width=512)


def test_vectors_come_from_the_file_or_from_a_clip():
  def embed(texts):
    return [[len(text), 1] for text in texts]

  texts = prompts.from_texts(TABLE)
  np.testing.assert_array_equal(
    texts.with_vectors(embed).vectors, [[6, 1], [7, 1], [10, 1]]
  )
  known = prompts.from_texts(TABLE, some_vectors())
  assert known.with_vectors(None) is known
  with pytest.raises(ValueError, match='convert clip.*file of prompt vectors'):
    texts.with_vectors(None)


@pytest.mark.parametrize(
  'content, message',
  [
    ({'Water': [], 'Woods': 'trees'}, r"without a prompt.*\['Water'\]"),
    ({'Water': [' '], 'Woods': 'trees'}, r"an empty one: \['Water'\]"),
    ({'Water': ['a lake', 'A  lake']}, r"twice.*\['A  lake'\]"),
    ({'Water': ['a lake'], 'Lakes': ['a lake']}, r"twice.*\['a lake'\]"),
    (['a lake', 'a lake'], r"twice.*\['a lake'\]"),
    ({'Water': 3}, "'Water' holds 3, but must hold a text"),
    ({'a': TABLE, 'b': TABLE}, 'several tables; name one with part: a, b'),
    (7, 'holds a int'),
    ({}, 'There are no classes'),
  ],
)
def test_wrong_json_files_are_named_and_explained(tmp_path, content, message):
  path = write_json(tmp_path / 'wrong.json', content)
  with pytest.raises(ValueError, match=f'wrong.json: .*{message}'):
    prompt_files.read(path)


@pytest.mark.parametrize(
  'rows, message',
  [
    (
      'rice,A flooded field, in June',
      r"row 2 has more values than .* \[' in June'\]; put .* in quotes",
    ),
    ('Water,a lake\nrice', r"row 3 has no \['text'\]"),
    ('rice,', r"an empty one: \['rice'\]"),
    (',a field', 'has no name'),
  ],
)
def test_wrong_csv_files_are_named_and_explained(tmp_path, rows, message):
  path = tmp_path / 'wrong.csv'
  path.write_text(f'class,text\n{rows}\nWoods,tall trees')
  with pytest.raises(ValueError, match=f'wrong.csv: .*{message}'):
    prompt_files.read(path)


def test_a_json_file_of_a_windows_editor_is_read(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text(json.dumps(TABLE), 'utf-8-sig')
  assert prompt_files.read(path).classes == tuple(TABLE)


def test_a_class_that_stands_twice_in_a_json_file_is_found(tmp_path):
  path = tmp_path / 'twice.json'
  path.write_text('{"Water": "a lake", "Water": "a river"}')
  with pytest.raises(ValueError, match=r"twice.json: .*twice: \['Water'\]"):
    prompt_files.read(path)


def test_parts_and_files_that_are_not_there(tmp_path):
  path = write_json(tmp_path / 'a.json', {'tasks': TABLE})
  with pytest.raises(ValueError, match=r"'tasks/x'; at 'x' there is \['Water'"):
    prompt_files.read(path, part='tasks/x')
  with pytest.raises(FileNotFoundError, match='absent.json'):
    prompt_files.read(tmp_path / 'absent.json')
  with pytest.raises(ValueError, match='end in .json, .csv, .npz'):
    prompt_files.read(tmp_path / 'a.txt')
  with pytest.raises(ValueError, match='only JSON files have parts'):
    prompt_files.read(tmp_path / 'a.csv', part='tasks')


def test_wrong_files_of_vectors_are_explained(tmp_path):
  path = tmp_path / 'wrong.npz'
  np.savez(path, classes=['a', 'b'], texts=['x', 'y'])
  with pytest.raises(ValueError, match=r"wrong.npz.*lacks.*'vectors'"):
    prompt_files.read(path)
  np.savez(path, classes=['a', 'b'], texts=['x', 'y'], vectors=some_vectors(3))
  with pytest.raises(ValueError, match=r'vectors are \(3, 5\) for 2 texts'):
    prompt_files.read(path)
  np.savez(path, classes=['a'], texts=['x', 'y'], vectors=some_vectors(2))
  with pytest.raises(ValueError, match='1 classes for 2 texts'):
    prompt_files.read(path)
  for factor in (np.nan, 0):
    np.savez(
      path,
      classes=['a', 'b'],
      texts=['x', 'y'],
      vectors=some_vectors(2) * [[1], [factor]],
    )
    with pytest.raises(ValueError, match=r"zero or not finite.*\['y'\]"):
      prompt_files.read(path)
  for names in ([1, 2], np.array([b'a', b'b']), [['a', 'b'], ['c', 'd']]):
    np.savez(path, classes=names, texts=['x', 'y'], vectors=some_vectors(2))
    with pytest.raises(ValueError, match='wrong.npz: .*are no text: '):
      prompt_files.read(path)
  for count in (100, 0):
    path.write_bytes(path.read_bytes()[:count])
    with pytest.raises(ValueError, match='wrong.npz'):
      prompt_files.read(path)
  path = tmp_path / 'wrong.safetensors'
  path.write_text('nothing')
  with pytest.raises(ValueError, match='wrong.safetensors'):
    prompt_files.read(path)


def test_texts_alone_are_not_written_as_vectors(tmp_path):
  with pytest.raises(ValueError, match='no vectors to write'):
    prompt_files.write(tmp_path / 'a.npz', prompts.from_texts(TABLE))
  with pytest.raises(ValueError, match='.npz or .safetensors'):
    prompt_files.write(
      tmp_path / 'a.txt', prompts.from_texts(TABLE, some_vectors())
    )
