"""JSON is bounded in depth and size, and errors name the file."""

import pytest

from fusion_jax.untrusted import memory, nested


@pytest.mark.parametrize('depth', [200, 100_000])
@pytest.mark.parametrize('opened, closed', ['[]', ('{"a":', '}')])
def test_deep_json_is_refused(depth, opened, closed, tmp_path):
  path = tmp_path / 'a.json'
  inner = '1' if closed == '}' else ''
  path.write_text(opened * depth + inner + closed * depth)
  with pytest.raises(ValueError, match=r'a.json nests .* levels deep'):
    nested.read_json(path)


def test_json_of_usual_depth_is_read(tmp_path):
  path = tmp_path / 'a.json'
  path.write_bytes(b'\xef\xbb\xbf' + b'[' * 90 + b']' * 90)
  assert nested.read_json(path)


@pytest.mark.parametrize(
  'content, message',
  [
    (b'{', 'a.json is no JSON file'),
    (b'\xff\xfe', 'a.json is no text in UTF-8'),
    (b'', 'a.json is no JSON file'),
  ],
)
def test_the_file_is_named(content, message, tmp_path):
  path = tmp_path / 'a.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match=message):
    nested.read_json(path)


def test_a_list_is_no_table(tmp_path):
  path = tmp_path / 'a.json'
  path.write_text('[]')
  with pytest.raises(ValueError, match='a.json holds a list where a table'):
    nested.read_table(path)


def test_json_too_large_for_memory_is_not_parsed(tmp_path, monkeypatch):
  path = tmp_path / 'a.json'
  path.write_text('[' + '[],' * 10_000 + '[]]')
  assert len(nested.read_json(path)) == 10_001
  monkeypatch.setenv(memory.VARIABLE, '1M')
  with pytest.raises(ValueError, match='a.json: its JSON would take'):
    nested.read_json(path)


def test_what_holds_itself_is_refused():
  circle = []
  circle.append(circle)
  with pytest.raises(ValueError, match='levels deep'):
    nested.check_depth(circle, 'a.pt')


def test_what_is_shared_is_not_counted_again():
  shared = []
  for _ in range(60):  # 2 ** 60 paths lead to the innermost list.
    shared = [shared, shared]
  nested.check_depth(shared, 'a.pt')
