"""Converts public torch weights to parameters of this package, and back."""
