"""Predictions and targets to loss terms with declared averages."""
