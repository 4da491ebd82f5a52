"""Texts <-> CLIP's token ids: repair, lower case, byte-pair merges.

Ids are those of OpenAI's and OpenCLIP's tokenizers. Differs from both: their
special words (such as `<end_of_text>`) inside a text are plain text here,
because an end in the middle of a text would hide the rest.
Source: OpenAI CLIP, `clip/simple_tokenizer.py` and `clip.tokenize`.
"""

import functools
import gzip
import html
import importlib.resources
from collections.abc import Sequence

import ftfy
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

START, END = 49_406, 49_407
CONTEXT = 77  # Most tokens of a text, start and end included.
_NUM_MERGES = 48_894  # CLIP uses the first lines of a file that has more.
_END_OF_WORD = '</w>'
_WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def encode(
  texts: Sequence[str], context: int = CONTEXT, *, truncate: bool = False
) -> np.ndarray:
  """Returns the token ids of texts.

  Args:
    texts: B strings.
    context: N, the largest number of tokens, start and end included.
    truncate: whether to cut longer texts, keeping the end token (as OpenCLIP
      does), instead of raising an error (as OpenAI's code does).

  Returns:
    int32 [B, N]: start, words, end, then 0.

  Raises:
    TypeError: if `texts` is a single string.
    ValueError: if a text is too long; the message has the text and its length.
  """
  if isinstance(texts, str):
    raise TypeError(f'Give a list of texts, such as [{texts!r}].')
  ids = np.zeros((len(texts), context), np.int32)
  for row, text in zip(ids, texts):
    words = word_ids(text)
    if len(words) + 2 > context and not truncate:
      raise ValueError(
        f'{text!r} is {len(words) + 2} tokens long, more than {context}; '
        'shorten it, or cut it with truncate=True.'
      )
    text_ids = [START, *words[: context - 2], END]
    row[: len(text_ids)] = text_ids
  return ids


def word_ids(text: str) -> list[int]:
  """Returns the ids of a text of any length, without start and end."""
  return _tokenizer().encode(clean(text)).ids


def clean(text: str) -> str:
  """Returns a text as the tokenizer sees it.

  It is repaired by ftfy (mangled encodings, curly quotes), HTML entities are
  resolved twice, white space is collapsed, and letters become lower case.
  """
  text = html.unescape(html.unescape(ftfy.fix_text(text)))
  return ' '.join(text.split()).lower()


@functools.cache
def _tokenizer() -> tokenizers.Tokenizer:
  """The tokenizer of CLIP's vocabulary, which takes a tenth of a second."""
  file = (
    importlib.resources.files('fusion_jax')
    / 'data'
    / 'clip_vocabulary'
    / 'bpe_simple_vocab_16e6.txt.gz'
  )
  lines = gzip.decompress(file.read_bytes()).decode().split('\n')
  pairs = [line.split() for line in lines[1 : _NUM_MERGES + 1]]
  merges = [(first, second) for first, second in pairs]
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
