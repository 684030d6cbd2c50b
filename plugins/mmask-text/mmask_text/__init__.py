"""Text for mmask."""
