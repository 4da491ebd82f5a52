"""Prompts and votes are fetched from an address, read once and embedded."""

import types

import numpy as np
import pytest

from fusion_jax import datasets
from fusion_jax.commands import app
from fusion_jax.data.sources import scenicness

PROMPTS = (
  ',user_index,have_been,confidence,values_in_order,prompts_in_order\n'
  '0,3,,,8,a lake\n1,4,Yes,3.0,2,a long road\n'
)
VOTES = (
  'ID\tLat\tLon\tAverage\tVariance\tVotes\tGeograph URI\n'
  '1\t51.5\t-2.0\t4.75\t3\t4,5\tx\n'
)


@pytest.fixture(name='urls')
def _urls(tmp_path):
  (tmp_path / 'p.csv').write_text(PROMPTS)
  (tmp_path / 'v.tsv').write_text(VOTES)
  return {
    'prompts': (tmp_path / 'p.csv').as_uri(),
    'votes': (tmp_path / 'v.tsv').as_uri(),
  }


def test_files_are_fetched_as_they_are(tmp_path, urls):
  out = tmp_path / 'out'
  written = datasets.fetch_scenicness(datasets.Scenicness(out=str(out), **urls))
  assert sorted(out.iterdir()) == sorted(written)
  assert (out / 'prompts.csv').read_text() == PROMPTS
  assert (out / 'votes.tsv').read_text() == VOTES


def test_prompts_are_embedded_by_a_clip(tmp_path, urls, monkeypatch):
  def embed_texts(texts, truncate):
    assert truncate
    return np.array([[len(text), 1] for text in texts], np.float32)

  monkeypatch.setattr(
    'fusion_jax.inference.load_as',
    lambda *_, **__: types.SimpleNamespace(embed_texts=embed_texts),
  )
  datasets.fetch_scenicness(
    datasets.Scenicness(out=str(tmp_path / 'out'), clip='clip', **urls)
  )
  prompts = scenicness.read_prompts(tmp_path / 'out' / 'prompts.npz')
  assert prompts.texts == ('a lake', 'a long road')
  assert prompts.vectors is not None
  np.testing.assert_array_equal(prompts.vectors, [[6, 1], [11, 1]])


@pytest.mark.parametrize('address', ['file:///no/such/file', 'no-address'])
def test_address_without_a_file_is_told_in_one_line(
  tmp_path, urls, capsys, address
):
  with pytest.raises(SystemExit) as caught:
    app.main(
      f'prepare scenicness --out {tmp_path / "out"} --votes {address} '
      f'--prompts {urls["prompts"]}'.split()
    )
  assert caught.value.code == 1
  (line,) = [
    line
    for line in capsys.readouterr().err.splitlines()
    if line.startswith('fusion-jax prepare')
  ]
  assert f'Cannot fetch {address}' in line and '--votes' in line
