"""Recipes: methods as data."""
