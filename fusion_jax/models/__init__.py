"""The models of the papers as linen modules, and what they cost."""
