"""Arithmetic that several stages compute with: positions, gathering, transformer blocks. Knows no stage."""
