"""Lets `python -m ntvl` be the command `ntvl`."""

from ntvl.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
