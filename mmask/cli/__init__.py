"""The command line: one file a command, and a table of them in `main` that imports none."""
