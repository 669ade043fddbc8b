#!/usr/bin/env python
"""Parameters and multiply-adds of a config's detector.

    python tools/analyze_model.py --config-file configs/meddet.yaml

The same as ``meddet analyze``; --help lists the options.
"""

import sys

from meddet_d2.cli.analyze_model import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
