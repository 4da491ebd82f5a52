"""The commands in the documents exist, with the flags that they are given."""

import functools
import re
import shlex

import pytest

from fusion_jax import configurations
from fusion_jax.commands import app
from tests.structure import source

DOCUMENTS = ['README.md', 'CONTRIBUTING.md', 'launch/README.md']


def commands():
  """Arguments of every `fusion-jax ...` in a block of code."""
  for name in DOCUMENTS:
    text = (source.ROOT / name).read_text().replace('\\\n', ' ')
    for block in re.findall(r'```bash\n(.*?)```', text, re.DOTALL):
      for line in block.splitlines():
        if line.startswith('fusion-jax '):
          words = shlex.split(line.replace('$', ''), comments=True)
          yield pytest.param(words[1:], id=' '.join(words[1:4]))


@pytest.mark.parametrize('words', list(commands()))
def test_command_of_a_document_is_understood(words, capsys):
  flags = [word.partition('=')[0] for word in words if word.startswith('--')]
  if words[0] == 'train':
    config = configurations.load(words[words.index('--config') + 1])
    for flag in flags:
      if flag.startswith('--config.'):
        *sections, field = flag.removeprefix('--config.').split('.')
        assert field in functools.reduce(getattr, sections, config), flag
    flags = [flag for flag in flags if not flag.startswith('--config.')]
  names = words[:2] if words[0] in ('prepare', 'convert') else words[:1]
  try:
    app.main([*names, '--help'])
  except SystemExit as end:
    assert not end.code
  text = capsys.readouterr().out
  for flag in flags:
    assert re.search(rf'{flag}\b', text), f'{flag} is not in\n{text}'


def test_files_that_the_documents_link_to_exist():
  for name in DOCUMENTS:
    path = source.ROOT / name
    for target in re.findall(r'\]\(\s*([^)#\s]+)', path.read_text()):
      if '://' not in target:
        assert (path.parent / target).exists(), f'{name}: {target}'
