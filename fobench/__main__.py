"""`python -m fobench` is the command `fobench`."""

from fobench.cli.main import main

if __name__ == "__main__":
    main()
