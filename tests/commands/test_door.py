"""The door of every command: errors in one line, choices, extras."""

import logging

import pytest
from absl import flags

from fusion_jax import extras, folders
from fusion_jax.commands import app, door


def fail(error, *argv):
  with door.open_for('fusion-jax map', argv):
    raise error


@pytest.mark.parametrize(
  'error, status, line',
  [
    (door.UsageError('no flag --x'), 2, 'no flag --x'),
    (flags.UnrecognizedFlagError('x'), 2, "Unknown command line flag 'x'"),
    (ValueError('two\n  lines'), 1, 'two lines'),
    (ValueError(), 1, 'ValueError'),
    (FileNotFoundError(2, 'No such file', 'a.tif'), 1, 'a.tif: No such file'),
    (FileExistsError('map.tif is there'), 1, 'map.tif is there'),
    (
      FileExistsError(17, 'File exists', 'a'),
      1,
      'a is a file; give the path of a folder',
    ),
    (FloatingPointError('loss at step 3'), 1, 'loss at step 3'),
    (extras.MissingExtraError('install it'), 1, 'install it'),
  ],
)
def test_an_error_of_the_user_is_one_line(error, status, line, capsys):
  with pytest.raises(SystemExit) as caught:
    fail(error)
  assert caught.value.code == status
  assert capsys.readouterr().err == f'fusion-jax map: {line}\n'


def test_verbose_adds_the_traceback(capsys):
  with pytest.raises(SystemExit):
    fail(ValueError('no'), '--verbose')
  output = capsys.readouterr().err
  assert 'Traceback' in output and output.endswith('fusion-jax map: no\n')


@pytest.mark.parametrize(
  'error', [TypeError('x'), KeyError('x'), ImportError('x'), RuntimeError('x')]
)
def test_a_mistake_of_the_program_keeps_its_traceback(error):
  with pytest.raises(type(error)):
    fail(error)


def test_verbose_is_no_argument_of_the_command():
  with door.open_for('fusion-jax map', ['--verbose', 'a']) as argv:
    assert argv == ['a']


def test_a_missing_package_names_its_extra():
  with pytest.raises(
    extras.MissingExtraError,
    match=r"Maps needs.*no_such.*pip install 'fusion_jax\[map\]'",
  ):
    with extras.needed('map', 'Maps'):
      import no_such  # noqa: F401


def test_a_missing_module_of_our_own_is_a_mistake_of_the_program():
  with pytest.raises(ImportError) as caught:
    with extras.needed('map', 'Maps'):
      from fusion_jax import no_such  # noqa: F401
  assert not isinstance(caught.value, extras.MissingExtraError)


def test_the_innermost_extra_is_named():
  with pytest.raises(extras.MissingExtraError, match='the inner one'):
    with extras.needed('map', 'Maps'):
      raise extras.MissingExtraError('the inner one')


def test_a_folder_has_to_exist(tmp_path):
  assert folders.existing(str(tmp_path)) == tmp_path
  with pytest.raises(FileNotFoundError, match='no folder .*missing'):
    folders.existing(tmp_path / 'missing')
  (tmp_path / 'file').touch()
  with pytest.raises(NotADirectoryError, match='file is a file'):
    folders.existing(tmp_path / 'file')


@pytest.mark.parametrize(
  'argv, message',
  [
    ([], 'choose among prepare, train'),
    (['generat'], "no 'generat'. Did you mean generate?"),
    (['--checkpoint', 'x'], "there is no '--checkpoint'"),
  ],
)
def test_a_misspelt_verb_is_one_line(argv, message, capsys):
  with pytest.raises(SystemExit) as caught:
    app.main(argv)
  output = capsys.readouterr().err
  assert caught.value.code == 2
  assert message in output and output.count('\n') == 1


@pytest.mark.parametrize(
  'argv, line',
  [
    (
      ['map', '--out', 'a b.tif', '--overwrite'],
      "It goes on where it stopped with: fusion-jax map --out 'a b.tif'",
    ),
    (['prepare', 'prompts'], 'Start it again.'),
    (['generate'], 'Start it again.'),
  ],
)
def test_an_interrupted_command_says_how_to_go_on(
  argv, line, capsys, monkeypatch
):
  def interrupt(argv):
    raise KeyboardInterrupt

  for module in ('map_scene', 'prepare', 'generate'):
    monkeypatch.setattr(f'fusion_jax.commands.{module}.main', interrupt)
  with pytest.raises(SystemExit) as caught:
    app.main(argv)
  assert caught.value.code == 130
  assert capsys.readouterr().err == (
    f'fusion-jax {argv[0]}: interrupted. {line}\n'
  )


def test_help_lists_the_verbs(capsys):
  with pytest.raises(SystemExit) as caught:
    app.main(['--help'])
  assert not caught.value.code
  text = capsys.readouterr().out
  for name, verb in app.VERBS.items():
    assert f'  {name} ' in text and verb.description in text


def test_orbax_is_not_heard_unless_it_fails():
  def record(path, level):
    return logging.LogRecord('absl', level, path, 1, '', (), None)

  heard = door._is_worth_reading
  assert not heard(record('/x/orbax/save.py', logging.INFO))
  assert heard(record('/x/orbax/save.py', logging.ERROR))
  assert heard(record('/x/fusion_jax/runs.py', logging.INFO))
