"""`fusion_jax` shows what is meant to be used, and imports it when it is."""

import inspect
import subprocess
import sys

import pytest

import fusion_jax


def test_importing_the_package_imports_no_jax():
  code = (
    'import sys, fusion_jax; dir(fusion_jax);'
    "print([m for m in ('jax', 'numpy', 'flax') if m in sys.modules])"
  )
  run = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert run.stdout.strip() == '[]'


@pytest.mark.parametrize('name', dir(fusion_jax))
def test_every_public_name_exists_and_is_documented(name):
  value = getattr(fusion_jax, name)
  assert name == '__version__' or inspect.getdoc(value)


def test_the_public_names_are_those_that_are_meant_to_be_used():
  assert {'load', 'run', 'BackboneModel', 'datasets', 'mapping'} <= set(
    dir(fusion_jax)
  )
  assert dir(fusion_jax) == sorted(fusion_jax.__all__)


def test_an_unknown_name_lists_the_public_ones():
  with pytest.raises(AttributeError, match="no 'laod'.*BackboneModel.*load"):
    _ = fusion_jax.laod


@pytest.mark.parametrize(
  'name',
  [
    'BackboneModel',
    'ClipModel',
    'EncoderModel',
    'ImageCodec',
    'PixelModel',
    'SeriesCodec',
  ],
)
def test_public_methods_are_documented_and_annotated(name):
  for method_name, method in inspect.getmembers(
    getattr(fusion_jax, name), inspect.isfunction
  ):
    if method_name.startswith('_') and method_name != '__init__':
      continue
    assert method.__doc__, method_name
    signature = inspect.signature(method)
    parameters = list(signature.parameters.values())[1:]
    for parameter in parameters:
      assert parameter.annotation is not inspect.Parameter.empty, method_name
      assert f'{parameter.name}:' in method.__doc__, (method_name, parameter)
