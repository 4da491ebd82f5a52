"""Generation of sequences with a trained backbone."""
