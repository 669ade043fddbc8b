#!/usr/bin/env python
"""How well a detector reads, for a clinician: a page, a json and tables.

    python tools/evaluate.py --config-file configs/meddet.yaml --weights output/meddet/model_final.pth --output reading

The same as ``meddet evaluate``; --help lists the options.
"""

import sys

from meddet_d2.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
