"""Encoders of pictures in the forms of other libraries."""
