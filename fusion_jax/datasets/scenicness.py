"""Rated prompts and votes that the evaluation of scenicness reads."""

import dataclasses
import http.client
import pathlib
import urllib.request

from absl import logging

from fusion_jax.datasets import prompt_vectors

PROMPTS = (
  'https://raw.githubusercontent.com/ahlevering/'
  'scenicness_prompting/9c3af49a29658c1323a960ec97266264dd71568c/'
  'data/prompts_cleaned.csv'
)
VOTES = 'http://scenicornot.datasciencelab.co.uk/votes.tsv'
_TIMEOUT_S = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenicness:
  """Rated prompts and votes of scenicness, downloaded.

  They do not come with this package: the prompts (Levering et al. 2024,
  10.1371/journal.pone.0307083) name no licence, the votes of ScenicOrNot are a
  database under ODbL 1.0. Writes prompts.csv and votes.tsv; with --clip also
  prompts.npz, which `config.evals.scenicness` reads together with votes.tsv.

  Attributes:
    out: Folder of the files.
    clip: Folder of a converted CLIP that embeds the prompts (default: they are
      not embedded).
    prompts: URL of the CSV of prompts.
    votes: URL of the TSV of votes.
  """

  out: str
  clip: str = ''
  prompts: str = PROMPTS
  votes: str = VOTES


def fetch_scenicness(step: Scenicness) -> list[pathlib.Path]:
  """Downloads both files, reads them once and embeds the prompts.

  Args:
    step: where the files come from and go, and which CLIP embeds the prompts.

  Returns:
    Paths of the files that were written.

  Raises:
    OSError: if a file cannot be fetched.
    ValueError: if a file has another layout, or the model is no CLIP.
  """
  from fusion_jax.data.sources import scenicness

  out = pathlib.Path(step.out)
  out.mkdir(parents=True, exist_ok=True)
  written = [
    _fetch(step.prompts, out / 'prompts.csv', '--prompts'),
    _fetch(step.votes, out / 'votes.tsv', '--votes'),
  ]
  prompts = scenicness.read_prompts(written[0])
  scenicness.read_votes(written[1])
  if step.clip:
    model = prompt_vectors.load_clip(step.clip)
    vectors = model.embed_texts(list(prompts.texts), truncate=True)
    written.append(out / 'prompts.npz')
    scenicness.write_prompts(written[-1], prompts._replace(vectors=vectors))
  return written


def _fetch(url: str, path: pathlib.Path, flag: str) -> pathlib.Path:
  """Downloads a file; a flag names another address.

  Raises:
    OSError: if it cannot be fetched.
  """
  try:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
      content = answer.read()
  except (OSError, ValueError, http.client.HTTPException) as error:
    raise OSError(
      f'Cannot fetch {url} ({error}). Check the connection, or give another '
      f'address, https:// or file://, with {flag}.'
    ) from error
  path.write_bytes(content)
  logging.info('%s is from %s.', path, url)
  return path
