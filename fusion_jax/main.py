"""`python -m fusion_jax.main ...` is `fusion-jax train ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['train', *sys.argv[1:]])
