"""Pieces of encoders: positions, gathering kept places."""
