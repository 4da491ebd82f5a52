"""`python -m fusion_jax.convert ...` is `fusion-jax convert ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['convert', *sys.argv[1:]])
