"""The secret table of who is who: in full or not at all, outside the data set, readable by its owner alone."""

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...files import replacing
from ...layout.data_set_writer import Record


@contextmanager
def new_key(path: Path | None) -> Iterator[Path | None]:
    """A file for the table, which gets its name at the end of the block; None if there is to be none."""
    if path is None:
        yield None
        return
    with replacing(path) as temporary:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield temporary


def write_key(path: Path, records: Iterable[Record]) -> None:
    """Write, as csv, which image and patient each pseudonym is."""
    # In the file that is there, for its permissions.
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "patient", "source", "source patient"])
        for record in sorted(records, key=lambda record: (record.patient, record.file_name)):
            table.writerow([record.file_name, record.patient, record.source, record.source_patient])
