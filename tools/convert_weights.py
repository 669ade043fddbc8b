#!/usr/bin/env python
"""Convert a .pkl of weights to safetensors, without running what it may hold.

    python tools/convert_weights.py R-50.pkl R-50.safetensors

The same as ``meddet convert-weights``; --help lists the options.
"""

import sys

from meddet_d2.cli.convert_weights import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
