"""Reads imagery: one set of rules for scenes, cubes, samples and arrays."""
