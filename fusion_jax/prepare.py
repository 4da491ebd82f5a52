"""Prepares a data set: `python -m fusion_jax.prepare NAME --out DIR`.

The same as `fusion-jax prepare`; from Python, see `fusion_jax.datasets`.
"""

import sys

from fusion_jax.commands import app

if __name__ == '__main__':
  app.main(['prepare', *sys.argv[1:]])
