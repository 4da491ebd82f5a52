"""Layers: linen modules named by what they compute."""
