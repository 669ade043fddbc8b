#!/usr/bin/env python
"""Make a data set from the public SPIDER release: lumbar discs, herniated or not.

    python datasets/prepare_spider.py SPIDER

The same as ``meddet prepare spider``; --help lists the options.
"""

import sys

from meddet_d2.cli.prepare_spider import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
