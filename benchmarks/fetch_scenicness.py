r"""Fetches rated prompts and votes for the evaluation of scenicness.

  python benchmarks/fetch_scenicness.py --out DIR [--clip DIR]

They do not come with this package: the prompts (Levering et al. 2024,
10.1371/journal.pone.0307083) name no licence, the votes of ScenicOrNot are a
database under ODbL 1.0. Writes prompts.csv and votes.tsv; with a converted CLIP
(python -m fusion_jax.convert clip) also prompts.npz, which
`config.evals.scenicness` reads together with votes.tsv.
"""

import argparse
import pathlib
import urllib.request

from absl import logging

import fusion_jax
from fusion_jax.data.sources import scenicness

PROMPTS = (
  'https://raw.githubusercontent.com/ahlevering/'
  'scenicness_prompting/9c3af49a29658c1323a960ec97266264dd71568c/'
  'data/prompts_cleaned.csv'
)
VOTES = 'http://scenicornot.datasciencelab.co.uk/votes.tsv'


def fetch(out, prompts=PROMPTS, votes=VOTES):
  """Downloads both files and reads them once; returns the prompts."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  for url, name in ((prompts, 'prompts.csv'), (votes, 'votes.tsv')):
    with urllib.request.urlopen(url, timeout=60) as answer:
      (out / name).write_bytes(answer.read())
    logging.info('%s is from %s.', out / name, url)
  scenicness.read_votes(out / 'votes.tsv')
  return scenicness.read_prompts(out / 'prompts.csv')


def embed(prompts, clip):
  """`RatedPrompts` with vectors, by the converted CLIP in a folder."""
  vectors = fusion_jax.load(clip).embed_texts(
    list(prompts.texts), truncate=True
  )
  return prompts._replace(vectors=vectors)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--out', required=True)
  parser.add_argument('--clip', default='', help='folder of a converted CLIP')
  parser.add_argument('--prompts', default=PROMPTS, help='URL of the CSV')
  parser.add_argument('--votes', default=VOTES, help='URL of the TSV')
  args = parser.parse_args()
  prompts = fetch(args.out, args.prompts, args.votes)
  if args.clip:
    scenicness.write_prompts(
      pathlib.Path(args.out) / 'prompts.npz', embed(prompts, args.clip)
    )


if __name__ == '__main__':
  main()
