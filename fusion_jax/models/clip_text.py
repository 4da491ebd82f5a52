"""Texts <-> CLIP's token ids: repair, lower case, byte-pair merges.

Ids are those of OpenAI's and OpenCLIP's tokenizers. Differs from both: their
special words (such as `<end_of_text>`) inside a text are plain text here, for
an end in the middle would hide the rest.
Source: OpenAI CLIP, `clip/simple_tokenizer.py` and `clip.tokenize`.
"""

import functools
import gzip
import html
import importlib.resources

import ftfy
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

START, END = 49_406, 49_407
CONTEXT = 77  # Tokens of a text, start and end included.
_NUM_MERGES = 48_894  # The file has more; CLIP uses its first lines.
_END_OF_WORD = '</w>'
_WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def encode(texts, context=CONTEXT, *, truncate=False):
  """Token ids of texts.

  Args:
    texts: B strings.
    context: N, the most tokens of a text, start and end included.
    truncate: whether to cut longer texts, keeping the end token (as OpenCLIP
      does), instead of raising (as OpenAI's does).

  Returns:
    int32 [B, N]: start, words, end, then 0.

  Raises:
    TypeError: if `texts` is a single string.
    ValueError: if a text is too long; it and its length are named.
  """
  if isinstance(texts, str):
    raise TypeError(f'Give a list of texts, such as [{texts!r}].')
  ids = np.zeros((len(texts), context), np.int32)
  for row, text in zip(ids, texts):
    found = word_ids(text)
    if len(found) + 2 > context and not truncate:
      raise ValueError(
        f'{text!r} is {len(found) + 2} tokens long, more than {context}; '
        'shorten it, or cut it with truncate=True.'
      )
    found = [START, *found[: context - 2], END]
    row[: len(found)] = found
  return ids


def word_ids(text):
  """Ids of a text without start and end, a list of any length."""
  return _tokenizer().encode(clean(text)).ids


def clean(text):
  """A text as the tokenizer sees it.

  Repaired by ftfy (mangled encodings, curly quotes), HTML entities resolved
  twice, white space collapsed, in lower case.
  """
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return ' '.join(text.split()).lower()


@functools.cache
def _tokenizer():
  """The `tokenizers` object; built in a tenth of a second, once."""
  file = (
    importlib.resources.files('fusion_jax')
    / 'data'
    / 'clip_vocabulary'
    / 'bpe_simple_vocab_16e6.txt.gz'
  )
  lines = gzip.decompress(file.read_bytes()).decode().split('\n')
  merges = [tuple(line.split()) for line in lines[1 : _NUM_MERGES + 1]]
  letters = sorted(pre_tokenizers.ByteLevel.alphabet())  # One for each byte.
  words = letters + [letter + _END_OF_WORD for letter in letters]
  words += [''.join(merge) for merge in merges]
  tokenizer = tokenizers.Tokenizer(
    models.BPE(
      {word: i for i, word in enumerate(words)},
      merges,
      end_of_word_suffix=_END_OF_WORD,
    )
  )
  tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(
        tokenizers.Regex(_WORDS), behavior='removed', invert=True
      ),
      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
  )
  return tokenizer
