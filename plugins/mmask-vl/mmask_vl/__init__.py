"""Vision and language for mmask."""
