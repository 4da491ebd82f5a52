"""Fusion of time series and imagery for Earth observation, in JAX."""

__version__ = '0.1.0'
