#!/usr/bin/env python
"""Look for mistakes in a data set before anyone trains on it.

    python tools/check_data.py datasets/cdh1848 --output checked

The same as ``meddet check-data``; --help lists the options.
"""

import sys

from meddet_d2.cli.check_data import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
