"""What `prepare tokenize` refuses before it starts."""

import types

import pytest

from fusion_jax import modalities, tokenize
from fusion_jax.released import image_codec


def test_a_tokenizer_with_more_codes_than_the_vocabulary_is_refused(
    tmp_path, monkeypatch):
  codec = types.SimpleNamespace(
      modality=modalities.get('NDVI', role='target'), num_codes=32_768)
  monkeypatch.setattr(image_codec, 'load', lambda workdir: codec)
  with pytest.raises(ValueError, match='ndvi.* 32768 codes.* 15360 of'):
    tokenize.tokenize(tmp_path, [tmp_path / 'ndvi'])
