"""Plans to what a network sees: dropping, replacing, altering hidden places."""
