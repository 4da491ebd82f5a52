"""From archives to batches: sources, builders, transforms."""
