"""``python -m mmask``: the command line."""

from mmask.cli.main import main

if __name__ == "__main__":
    main()
