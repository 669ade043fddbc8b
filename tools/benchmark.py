#!/usr/bin/env python
"""The paper's tables as runs.

    python tools/benchmark.py list

The same as ``meddet benchmark``; --help lists the options.
"""

import sys

from meddet_d2.cli.benchmark import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
