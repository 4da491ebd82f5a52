"""Evaluations: what a trained model is judged by, as tables and figures."""
