"""Pretrained encoders in other libraries' formats."""
