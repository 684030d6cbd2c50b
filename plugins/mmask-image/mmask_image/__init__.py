"""Images for mmask."""
