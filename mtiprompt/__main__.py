"""`python -m mtiprompt`: the command line."""

import sys

from mtiprompt.cli import main

if __name__ == "__main__":
    sys.exit(main())
