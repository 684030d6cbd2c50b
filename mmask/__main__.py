"""``python -m mmask``, and what ``torchrun -m mmask`` starts."""

from mmask.cli.main import main

if __name__ == "__main__":
    main()
