"""Evaluation of a model over local files of items."""
