"""``python -m tod``: the `tod` command."""

from tod.cli.main import main

if __name__ == "__main__":
    main()
