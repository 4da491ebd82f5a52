"""Fusion of time series and imagery for Earth observation, in JAX."""

__version__ = '0.1.0'


def load(workdir, which='last'):
  """Loads a trained model; see `fusion_jax.inference.load`."""
  from fusion_jax import inference  # Here: importing the package stays light.

  return inference.load(workdir, which)
