"""The commands of the console script `fusion-jax`, one file a verb.

Each parses its arguments and calls a public function: a command does nothing
that Python cannot do.
"""
