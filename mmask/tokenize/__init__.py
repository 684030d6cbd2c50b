"""Batches to tokens: cutting regular grids into patches, and back."""
