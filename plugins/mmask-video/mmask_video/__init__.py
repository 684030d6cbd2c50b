"""Video for mmask."""
