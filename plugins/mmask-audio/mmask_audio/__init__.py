"""Audio for mmask."""
