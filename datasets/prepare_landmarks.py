#!/usr/bin/env python
"""Make a landmark set from a public one: hands, skulls, spines.

    python datasets/prepare_landmarks.py hand FOLDER

The same as ``meddet prepare landmarks``; --help lists the options.
"""

import sys

from meddet_d2.cli.prepare_landmarks import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
