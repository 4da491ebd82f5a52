"""`python -m fusion_jax.calibrate ...` is `fusion-jax calibrate ...`."""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['calibrate', *sys.argv[1:]])
