"""Recipes, one file for each method."""
