"""Stage export: a run's encoder in another library's form, and other people's checkpoints as runs."""
