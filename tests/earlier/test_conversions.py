"""Conversions give the outputs they gave before, and earlier folders open.

Compared with `testdata/earlier/converted`: folders that `fusion_jax.convert`
wrote, and beside them inputs and outputs of the loaded models.
"""

import pytest

import fusion_jax
from tests.earlier import datasets, outputs

_SOURCES = datasets.FOLDER / 'sources'
# {folder: (kind of `outputs`, arguments of the command)}.
CONVERSIONS = {
  'backbone': (
    'converted_backbone',
    'terramind --num_heads 1 --source tests/testdata/torch/backbone.pt',
  ),
  'tokenizer_lulc': (
    'codec',
    'terramind --num_heads 1 '
    f'--source {_SOURCES}/TerraMind_Tokenizer_LULC.safetensors',
  ),
  'clip': ('clip', 'clip --source tests/testdata/clip/tiny/openai.pt'),
  'timesenclip': (
    'pixels',
    f'timesenclip --num_heads 2 --source {_SOURCES}/encoder.safetensors',
  ),
}


def _compare(name, folder):
  inputs, kept = outputs.read(f'converted/{name}.npz')
  result = outputs.ask(CONVERSIONS[name][0], fusion_jax.load(folder), inputs)
  outputs.compare(result, kept)


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(set(CONVERSIONS) - {'tokenizer_lulc'}))
def test_an_earlier_conversion_opens_and_gives_its_outputs(name, tmp_path):
  _compare(name, outputs.unpack(f'converted/{name}', tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize('name', sorted(CONVERSIONS))
def test_the_same_file_converts_to_the_same_outputs(name, tmp_path):
  arguments = CONVERSIONS[name][1].split()
  datasets.run('fusion_jax.convert', *arguments, '--out', tmp_path / name)
  _compare(name, tmp_path / name)
