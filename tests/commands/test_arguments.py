"""Command lines made from dataclasses: flags, help, errors in one line."""

import dataclasses
from typing import Literal

import pytest

from fusion_jax.commands import arguments, door

COMMAND = 'fusion-jax map'


@dataclasses.dataclass(frozen=True)
class Scene:
  """Maps a scene.

    fusion-jax map --scene cube.nc

  Attributes:
    scene: files of the scene.
    folder: folder of the model (default: the last one).
    nodata: value that means missing.
    kind: what the scene is.
    tiles: whether to use all tiles.
  """

  scene: tuple[str, ...]
  folder: arguments.Folder | None = None
  nodata: float | None = None
  kind: Literal['monthly', 'single'] = 'monthly'
  tiles: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
  """A job.

  Attributes:
    top_k: number of answers.
    shard: share of a job array (default: all).
  """

  top_k: int = 3
  shard: arguments.Share = (0, 1)

  def __post_init__(self):
    if self.top_k < 1:
      raise ValueError(f'top_k={self.top_k} is below 1')


def parse(line):
  return arguments.parse_several(COMMAND, line.split(), (Scene, Job))


def test_one_command_line_fills_several_dataclasses(tmp_path):
  scene, job = parse(
    f'--scene a b --folder {tmp_path} --nodata -1.5 --kind=single --tiles '
    '--top-k 5 --shard 3/16'
  )
  assert scene == Scene(('a', 'b'), tmp_path, -1.5, 'single', True)
  assert job == Job(5, (3, 16))
  assert parse('--scene a') == (Scene(('a',)), Job())


def test_underscores_are_read_as_hyphens():
  assert parse('--scene a --top_k 7')[1].top_k == 7
  assert parse('--scene a --top_k=7')[1].top_k == 7


def test_a_field_can_be_read_otherwise_than_it_is_annotated():
  (scene,) = arguments.parse_several(
    COMMAND, ['--scene', 'a'], (Scene,), types={'scene': str}
  )
  assert scene.scene == 'a'


@pytest.mark.parametrize(
  'line, message',
  [
    ('', 'needs --scene; see fusion-jax map --help'),
    ('--scene', '--scene needs at least one value'),
    ('--scene a --nodate 3', 'no flag --nodate. Did you mean --nodata?'),
    ('--sceen a', 'no flag --sceen. Did you mean --scene?'),
    ('--scene a --qqqq', r'no flag --qqqq. See fusion-jax map --help'),
    ('--scene a --top-k x', "--top-k: 'x' is not a whole number"),
    ('--scene a --nodata x', "--nodata: 'x' is not a number; see"),
    ('--scene a --kind daily', "--kind: there is no 'daily'; choose among"),
    ('--scene a --top-k', '--top-k needs a value'),
    ('--scene a --top-k 1 b', 'what should b mean'),
    ('--scene a --shard 4/4', "--shard: '4/4' is not I/N with 0 <= I < N"),
    ('--scene a --shard x', "--shard: 'x' is not I/N"),
    ('--scene a --folder /no/such', '--folder.*no folder /no/such'),
    ('--scene a --missing-band B8A', 'is now --missing-bands'),
    ('--scene a --missing_band=B8A', 'is now --missing-bands'),
  ],
)
def test_a_wrong_command_line_is_told_in_one_line(line, message):
  with pytest.raises(door.UsageError, match=message) as caught:
    parse(line)
  assert '\n' not in str(caught.value) and '│' not in str(caught.value)


def test_a_json_file_is_read(tmp_path):
  @dataclasses.dataclass(frozen=True)
  class Blocks:
    blocks: dict = dataclasses.field(default_factory=dict)

  def read(*argv):
    return arguments.parse_several(
      COMMAND, argv, (Blocks,), types={'blocks': arguments.JsonFile}
    )[0].blocks

  path = tmp_path / 'blocks.json'
  path.write_text('{"train": {"lat": [1, 2]}}')
  assert read('--blocks', str(path)) == {'train': {'lat': [1, 2]}}
  assert read() == {}
  path.write_text('{')
  with pytest.raises(door.UsageError, match='--blocks: .*is no JSON file'):
    read('--blocks', str(path))
  with pytest.raises(door.UsageError, match='--blocks: .*No such file'):
    read('--blocks', str(tmp_path / 'missing'))


def test_what_a_dataclass_refuses_keeps_its_words():
  with pytest.raises(ValueError, match='^top_k=0 is below 1$'):
    parse('--scene a --top-k 0')


def test_help_comes_from_docstrings(capsys):
  with pytest.raises(SystemExit) as caught:
    parse('--help')
  assert not caught.value.code
  text = ' '.join(capsys.readouterr().out.replace('│', ' ').split())
  for words in (
    'usage: fusion-jax map',
    'Maps a scene.',
    'fusion-jax map --scene cube.nc',
    'files of the scene. (required)',
    'folder of the model (default: the last one).',
    '--nodata FLOAT value that means missing. --kind',
    '(default: monthly)',
    '--shard I/N share of a job array (default: all).',
    '--verbose',
  ):
    assert words in text, text
  assert 'no-tiles' not in text and 'Attributes' not in text
