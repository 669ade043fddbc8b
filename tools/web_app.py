#!/usr/bin/env python
"""A page in your browser to try a detector.

    python tools/web_app.py --onnx exported/model.onnx

The same as ``meddet web``; --help lists the options.
"""

import sys

from meddet_d2.cli.web_app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
