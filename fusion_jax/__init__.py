"""Fusion of time series and imagery for Earth observation, in JAX."""

__version__ = '0.1.0'


def load(workdir, which='last'):
  """Loads a trained model; see `fusion_jax.released.load`."""
  from fusion_jax import released  # Here: importing the package stays light.

  return released.load(workdir, which)
