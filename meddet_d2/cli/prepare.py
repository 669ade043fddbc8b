"""Make a data set in the layout of CDH-1848.

meddet prepare images IMAGES --annotations A --format labelme
meddet prepare spider SPIDER
"""

import argparse

from . import prepare_images, prepare_spider

SOURCES = {"images": prepare_images.main, "spider": prepare_spider.main}


def main(arguments: list[str], prog: str | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", choices=SOURCES, help="your own images, or the SPIDER release; each has a --help")
    source = parser.parse_args(arguments[:1]).source
    return SOURCES[source](arguments[1:], f"{parser.prog} {source}")
