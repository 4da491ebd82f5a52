"""Builds models from configurations and folders, for training and for use.

Tasks and `fusion_jax.inference` both assemble their models here, so that a
loaded model sees exactly the inputs that it was trained on.
"""
