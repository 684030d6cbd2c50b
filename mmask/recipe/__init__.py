"""Recipes: their schema, and how one is put together from a plugin, a file, a profile and overrides.

`schema` has every key; `tree` keeps values with where they came from; `override` reads ``key=value``;
`load` finds recipes and files; `resolve` puts the layers together; `parts` lists the components a recipe
names; `freeze` writes the outcome.
"""
