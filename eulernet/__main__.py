"""python -m eulernet: as the command ``eulernet``."""

from eulernet.cli.front import main

if __name__ == "__main__":
    main()
