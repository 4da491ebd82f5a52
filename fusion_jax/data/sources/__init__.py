"""Readers of archives and files: one module for each data set or format."""
