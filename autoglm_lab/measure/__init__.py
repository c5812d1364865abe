"""Measuring: one record for every variant of a model. Imports neither torch nor transformers."""
