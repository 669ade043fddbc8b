"""``python -m meddet_d2 COMMAND ...`` is ``meddet COMMAND ...``."""

import sys

from meddet_d2.cli.console import main

if __name__ == "__main__":
    sys.exit(main())
