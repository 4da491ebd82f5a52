"""`python -m fusion_jax.map_scene ...` is `fusion-jax map ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['map', *sys.argv[1:]])
