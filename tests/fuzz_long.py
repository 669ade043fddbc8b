#!/usr/bin/env python
"""Many hostile files for every reader; prints a line for each finding and a table at the end.

    python tests/fuzz_long.py --cases 10000
    python tests/fuzz_long.py --cases 10000 --reader "dicom plain" card --seed 7
    python tests/fuzz_long.py --reader card --case 4711 --keep /tmp/found.json

The same seed and number give the same file. Exits with 1 if anything was found.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import fuzz_readers
import fuzzing
from tqdm import tqdm

# Named in full; more of the same kind are counted.
SHOWN = 5


def parse_args(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10000, metavar="N", help="for each reader (default: 10000)")
    parser.add_argument("--seed", type=int, default=1848, metavar="N")
    parser.add_argument("--reader", nargs="+", choices=list(fuzz_readers.READERS), default=list(fuzz_readers.READERS))
    parser.add_argument("--case", type=int, metavar="N", help="only this one, with its traceback")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the file of --case there")
    return parser.parse_args(arguments)


def try_reader(name: str, cases: range, seed: int, *, keep: Path | None = None, strict: bool = False) -> dict:
    """One reader on many files: a row of the table, and its findings on the terminal as they come."""
    reader, found = fuzz_readers.READERS[name], Counter()
    accepted, slowest = 0, 0.0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="meddet_fuzz_") as folder:
        path, sound = fuzzing.sound_files(reader, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in tqdm(cases, desc=name, unit="case", disable=None, leave=False):
            data = fuzzing.case(reader, sound, seed, number)
            path.write_bytes(data)
            if keep is not None:
                keep.write_bytes(data)
            start = time.monotonic()
            try:
                accepted += fuzzing.attack(reader, path)
            except (Exception, fuzzing.TooMuch) as error:
                if strict:
                    raise
                kind = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
                found[kind[:40]] += 1
                if found[kind[:40]] <= SHOWN:
                    tqdm.write(f"{name}, case {number}: {kind}", file=sys.stderr)
            slowest = max(slowest, time.monotonic() - start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return {
        "reader": name,
        "cases": len(cases),
        "accepted": accepted,
        "findings": sum(found.values()),
        "seconds": time.monotonic() - begin,
        "slowest_ms": 1000 * slowest,
        "grown_mib": grown / 1024,
    }


def main(arguments: list[str]) -> int:
    """Run the command line; returns the exit status."""
    args = parse_args(arguments)
    cases = range(args.cases) if args.case is None else range(args.case, args.case + 1)
    print(f"seed {args.seed}")
    print(
        f"{'reader':<20}{'cases':>8}{'accepted':>10}{'findings':>10}{'seconds':>9}{'slowest ms':>12}{'MiB grown':>11}"
    )
    total = 0
    for name in args.reader:
        row = try_reader(name, cases, args.seed, keep=args.keep, strict=args.case is not None)
        total += row["findings"]
        print(
            f"{row['reader']:<20}{row['cases']:>8}{row['accepted']:>10}{row['findings']:>10}{row['seconds']:>9.1f}"
            f"{row['slowest_ms']:>12.0f}{row['grown_mib']:>11.0f}",
            flush=True,
        )
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
