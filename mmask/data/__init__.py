"""Shards to samples to batches: indexed tars, an order that is a pure function, exact resume."""
