"""CLIP's tokenizer against recorded ids of the original."""

import json
import pathlib

import numpy as np
import pytest

from fusion_jax.models import clip_text

GOLDEN = json.loads(
  (
    pathlib.Path(__file__).parents[1] / 'testdata' / 'clip' / 'token_ids.json'
  ).read_text()
)


@pytest.mark.parametrize(
  'case', GOLDEN['prompts'], ids=lambda case: case['text'][:20]
)
def test_ids_are_those_of_the_original(case):
  (ids,) = clip_text.encode([case['text']])
  np.testing.assert_array_equal(ids[: case['n']], case['ids'])
  assert not ids[case['n'] :].any() and ids.shape == (77,)


def test_long_texts_are_cut_only_when_told_and_keep_their_end():
  case = GOLDEN['truncation']
  (ids,) = clip_text.encode([case['text']], truncate=True)
  np.testing.assert_array_equal(ids, case['padded_77'])
  with pytest.raises(ValueError, match='An industrial lot.* 106 tokens.* 77'):
    clip_text.encode(['a short one', case['text']])


def test_a_text_that_just_fits_is_not_too_long():
  (ids,) = clip_text.encode(['x ' * 75])
  assert ids[0] == clip_text.START and ids[-1] == clip_text.END
  with pytest.raises(ValueError, match='78 tokens'):
    clip_text.encode(['x ' * 76])


def test_every_byte_has_an_id():
  text = bytes(range(256)).decode('latin-1')
  assert all(0 <= i < clip_text.START for i in clip_text.word_ids(text))


def test_entities_are_resolved_twice():
  """With a tag in the text, ftfy leaves them alone."""
  assert clip_text.clean('<b> &amp;lt;  A') == '<b> < a'


def test_special_words_inside_a_text_are_plain_text():
  ids = clip_text.word_ids('a <end_of_text> <|endoftext|> b')
  assert max(ids) < clip_text.START


def test_a_single_string_is_refused():
  with pytest.raises(TypeError, match='list of texts'):
    clip_text.encode('a river')
