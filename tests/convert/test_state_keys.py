"""States of wrapped models, with their prefixes taken off."""

import pytest

from fusion_jax.convert import state_keys

STATE = {'encoder.weight': 1, 'decoder.bias': 2}


@pytest.mark.parametrize(
  'wrap',
  [
    'module.{}',
    '_orig_mod.{}',
    'module._orig_mod.{}',
    '_orig_mod.module.{}',
    'model._orig_mod.{}',
  ],
)
def test_prefixes_go(wrap):
  wrapped = {wrap.format(key): value for key, value in STATE.items()}
  assert dict(state_keys.unwrapped(wrapped)) == STATE


def test_parts_may_be_compiled_by_themselves():
  wrapped = {'encoder._orig_mod.weight': 1, 'decoder.bias': 2}
  assert dict(state_keys.unwrapped(wrapped)) == STATE


def test_what_only_some_keys_have_stays():
  for state in ({'module.a': 1, 'b': 2}, {'a': 1, '_orig_mod.a': 2}):
    assert dict(state_keys.unwrapped(state)) == state
