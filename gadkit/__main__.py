"""`python -m gadkit` is the command `gadkit`, for where scripts are not installed."""

import sys

from gadkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
