"""Recipes as typed data: schema, overrides, where each value came from, the file form."""
