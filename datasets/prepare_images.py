#!/usr/bin/env python
"""Make a data set from your images and the annotations of a labelling tool.

    python datasets/prepare_images.py IMAGES --annotations A --format labelme

The same as ``meddet prepare images``; --help lists the options.
"""

import sys

from meddet_d2.cli.prepare_images import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
