"""`python -m steppe` and the command `steppe`."""

import sys

from steppe.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
