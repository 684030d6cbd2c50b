"""Encoded views to predictions, at scored places only."""
