"""Label tables: sizes, codes, and both spellings of a name."""

import pytest

from fusion_jax.data import labels


def test_tasks_have_the_published_numbers_of_classes():
  assert [len(labels.classes(task)) for task in labels.TASKS] == [
    8,
    16,
    40,
    44,
    12,
    28,
  ]
  assert len(labels.in_paper('bioregion')) == 8
  assert labels.in_paper('crops') == labels.classes('crops')


@pytest.mark.parametrize(
  ('task', 'code', 'name'),
  [
    ('land_cover', 'B16', 'Cropland'),
    ('land_cover', 'BX1', 'Cropland'),
    (
      'land_use',
      'U312',
      'Transport, Communication Networks, Storage, Protection Works',
    ),
    ('crops', 'b16', 'Maize'),
    ('country', 'EL', 'Greece'),
    ('eunis', '0', 'Arable land and market gardens'),
  ],
)
def test_codes_give_the_class(task, code, name):
  assert labels.classes(task)[labels.of_code(task, code)] == name


@pytest.mark.parametrize(
  ('task', 'code'),
  [('crops', 'C10'), ('crops', 'BX1'), ('land_use', '8'), ('land_cover', '')],
)
def test_codes_of_other_things_give_no_class(task, code):
  assert labels.of_code(task, code) == -1


def test_every_code_points_at_a_class_and_every_class_has_its_name_once():
  for task in labels.TASKS:
    names = labels.classes(task)
    assert len(set(names)) == len(names)
    assert set(labels.codes(task).values()) == set(range(len(names)))


@pytest.mark.parametrize(
  ('task', 'first', 'second'),
  [
    ('land_cover', 'Bare Land', 'Bareland'),
    ('land_cover', 'Artificial Land', 'Artificial land'),
    ('land_use', 'Mining and Quarrying', 'Mining and quarrying'),
    (
      'land_use',
      'Transport, Communication Networks, Storage, Protection Works',
      'Transport, Communication, Storage, Protection',
    ),
    ('bioregion', 'BlackSea', 'Black Sea'),
  ],
)
def test_both_spellings_are_one_class(task, first, second):
  assert labels.of_name(task, first) == labels.of_name(task, second) >= 0


def test_na_is_no_class_and_an_unknown_name_raises():
  assert labels.of_name('crops', 'NA') == -1
  with pytest.raises(ValueError, match="'Banana' is no class of crops; .*Rice"):
    labels.of_name('crops', 'Banana')
  with pytest.raises(
    ValueError, match="no task 'soil'; choose one of land_cover"
  ):
    labels.classes('soil')


def test_names_are_prettified():
  assert labels.pretty('BlackSea') == 'Black Sea'
  assert labels.pretty('Bare Land') == 'Bare Land'
