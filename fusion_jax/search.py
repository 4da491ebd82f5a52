"""`python -m fusion_jax.search ...` is `fusion-jax search ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['search', *sys.argv[1:]])
