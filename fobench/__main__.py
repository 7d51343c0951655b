"""`python -m fobench` is the command `fobench`."""

from fobench.cli import main

if __name__ == "__main__":
    main()
