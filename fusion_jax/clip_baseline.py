"""`python -m fusion_jax.clip_baseline` is `fusion-jax clip-baseline`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['clip-baseline', *sys.argv[1:]])
