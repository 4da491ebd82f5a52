"""Sizes are checked against a limit that the user can set."""

import pytest

from fusion_jax.commands import door
from fusion_jax.untrusted import memory


@pytest.mark.parametrize(
  'text, size',
  [
    ('8G', 8 * 2**30),
    ('512M', 2**29),
    ('1.5GiB', 3 * 2**29),
    ('2 kb', 2048),
    ('77', 77),
  ],
)
def test_sizes_are_read(text, size):
  assert memory.parse(text) == size


@pytest.mark.parametrize('text', ['', '0', '-1G', '8 apples', 'G', '0.5'])
def test_no_size_is_refused(text):
  with pytest.raises(ValueError, match='is no size of memory such as 8G'):
    memory.parse(text)


def test_the_advice_of_the_error_helps(monkeypatch):
  monkeypatch.setenv(memory.VARIABLE, '1G')
  with pytest.raises(ValueError, match=r'a.tif: its pixels .*--max-memory 3G'):
    memory.check(2.5 * 2**30, 'a.tif', 'its pixels')
  monkeypatch.setenv(memory.VARIABLE, '3G')
  memory.check(2.5 * 2**30, 'a.tif', 'its pixels')


def test_a_wrong_variable_is_named(monkeypatch):
  monkeypatch.setenv(memory.VARIABLE, 'much')
  with pytest.raises(ValueError, match=f"{memory.VARIABLE}: 'much' is no size"):
    memory.limit()


def test_the_default_is_a_share_of_the_machine(monkeypatch):
  monkeypatch.delenv(memory.VARIABLE, raising=False)
  assert 2**26 < memory.limit() < 2**50


@pytest.mark.parametrize(
  'argv',
  [
    ['--max-memory', '3G', 'a'],
    ['a', '--max-memory=3G'],
    ['a', '--max_memory=3G'],
  ],
)
def test_every_command_takes_the_limit(argv, monkeypatch):
  monkeypatch.setenv(memory.VARIABLE, '1G')
  with door.open_for('fusion-jax map', argv) as rest:
    assert rest == ['a']
    assert memory.limit() == 3 * 2**30


@pytest.mark.parametrize('argv', [['--max-memory'], ['--max-memory', 'x']])
def test_a_wrong_limit_is_a_wrong_command_line(argv, capsys):
  with pytest.raises(SystemExit) as caught:
    with door.open_for('fusion-jax map', argv):
      raise AssertionError
  assert caught.value.code == 2
  assert '--max-memory: ' in capsys.readouterr().err


def test_array_sizes_do_not_overflow():
  assert memory.num_bytes((2**40, 2**40), 8) == 2**83
