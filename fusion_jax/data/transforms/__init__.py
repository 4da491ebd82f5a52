"""The steps from an example to a batch, one module for each task."""
