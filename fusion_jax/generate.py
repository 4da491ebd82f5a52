"""`python -m fusion_jax.generate ...` is `fusion-jax generate ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['generate', *sys.argv[1:]])
