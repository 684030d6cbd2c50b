"""Text encoders in other libraries' forms."""
