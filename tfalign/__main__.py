"""``python -m tfalign`` is the command ``tfalign``."""

from tfalign.cli import main

if __name__ == "__main__":
    main()
