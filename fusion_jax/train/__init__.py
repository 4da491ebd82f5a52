"""Training of any task: the loop, its settings, checkpoints and logs."""
