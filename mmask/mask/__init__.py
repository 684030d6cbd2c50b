"""Layouts to mask plans: what is hidden, from keys and layouts alone."""
