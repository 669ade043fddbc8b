"""Turn the paper's tables into runs: train and evaluate a suite of configs, and write tables and pictures.

    meddet benchmark list
    meddet benchmark run --scale configs/benchmark/phantom.yaml --output results/phantom --seeds 1 2 3
    meddet benchmark run --output results/cdh1848 --tables I III --rows MGD MedDet SOLVER.IMS_PER_BATCH 8
    meddet benchmark report --output results/phantom
    meddet benchmark efficiency --output results/phantom --size 512
    meddet benchmark speed --output results/speed
    meddet benchmark robustness --output results/phantom --rows KD "KD + nmODE2"

The same ``run`` or ``robustness`` command again continues where it was stopped. ``KEY VALUE`` pairs at the end of
``run`` override every row's config. docs/how_to/benchmark.md says the rest.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timezone

import torch
from tabulate import tabulate

from ..benchmark import (
    Planner,
    ResultsFolder,
    Runner,
    check_runs,
    efficiency,
    load_suite,
    robustness,
    robustness_report,
    speed,
    write_report,
)
from ..benchmark import result_plots as plots
from ..benchmark import trained_networks as networks
from ..benchmark.plan import relative
from ..benchmark.suite import select
from ..command import add_plugins, command_main, new_parser
from ..data.mri_noise import CORRUPTIONS, SEVERITIES, check_libraries
from ..places import given_config, given_path
from ..provenance import provenance_now, without_home

SUITE = "configs/benchmark/tables.yaml"
KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*\Z")


# Options of several commands.
OUTPUT = ("--output", {"type": given_path, "required": True, "metavar": "FOLDER", "help": "the results folder"})
ROWS = (
    ("--tables", {"nargs": "+", "metavar": "TABLE", "help": "only these"}),
    ("--rows", {"nargs": "+", "metavar": "ROW", "help": "only these"}),
)
LIST = ("--suite", {"type": given_config, "default": SUITE, "metavar": "FILE", "help": "default: the paper's tables"})
SIZE = ("--size", {"type": int, "default": 512, "help": "height and width in pixels (default: 512)"})


def parse_args(arguments: list[str], prog: str | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__, prog, plugins=False)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(function: Callable, help: str, *options: tuple[str, dict]) -> argparse.ArgumentParser:
        command = commands.add_parser(function.__name__.removeprefix("command_"), help=help)
        command.set_defaults(function=function)
        add_plugins(command)
        for option, settings in options:
            command.add_argument(option, **settings)
        return command

    run = add(command_run, "make the runs that are not done yet, then report", LIST, *ROWS, OUTPUT)
    run.add_argument("--seeds", nargs="+", type=int, metavar="N", help="instead of the suite's")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at once, sharing the cores (default: 1)")
    run.add_argument("--scale", type=given_config, metavar="FILE", help="a yaml merged onto every row's config")
    teachers = run.add_mutually_exclusive_group()
    teachers.add_argument("--teachers-per-seed", action="store_true", help="a set of teachers for each seed")
    teachers.add_argument("--given-teachers", action="store_true", help="take DISTILL.TEACHERS.WEIGHTS, train none")
    run.add_argument("--allow-mixed", action="store_true", help="beside results of other sources or the other engine")

    add(command_list, "the suite's tables and rows", LIST, *ROWS)
    add(command_report, "write tables and pictures again from the json files", OUTPUT)

    costs = add(command_efficiency, "Table II: parameters, multiply-adds and speed side by side", LIST, OUTPUT, SIZE)
    costs.add_argument("--images", type=int, default=1, help="images in one call (default: 1)")
    costs.add_argument("--rounds", type=int, default=11, help="timed calls of each network (default: 11)")
    costs.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own)")

    costs = add(command_speed, "what networks, export and a distillation step cost, side by side", OUTPUT, SIZE)
    for option, config, meaning in (
        ("--student", "configs/meddet.yaml", "a distillation's yaml"),
        ("--nano", "configs/meddet/meddet_nano.yaml", "a lighter one"),
        ("--teacher", "configs/backbones/gfl_r50.yaml", "to compare with"),
    ):
        costs.add_argument(option, type=given_config, default=config, metavar="FILE", help=meaning)
    costs.add_argument("--images", type=int, help="images in a training step (default: 8 on a CPU, 16 on a GPU)")
    costs.add_argument("--rounds", type=int, default=11, help="timed calls of each part (default: 11)")
    costs.add_argument(
        "--device", nargs="+", choices=("cpu", "cuda"), help="default: the CPU, and a GPU where there is one"
    )
    costs.add_argument("--only", nargs="+", choices=tuple(speed.PARTS), metavar="PART", help=", ".join(speed.PARTS))

    noise = add(command_robustness, 'AP50 of trained networks under MRI noise (the extra "noise")', OUTPUT, *ROWS)
    noise.add_argument(
        "--network",
        nargs=3,
        action="append",
        metavar=("NAME", "CONFIG", "WEIGHTS"),
        help="a checkpoint of your own instead of the folder's runs; again for others, the same name for other seeds",
    )
    noise.add_argument("--corruptions", nargs="+", default=CORRUPTIONS, metavar="NAME", help="default: all seven")
    noise.add_argument("--severities", nargs="+", type=int, default=SEVERITIES, metavar="N", help="default: 1 to 5")
    noise.add_argument("--batch", type=int, default=8, metavar="N", help="images at once (default: 8)")

    options, overrides = _split_overrides(arguments)
    args = parser.parse_args(options)
    if overrides and args.command != "run":
        parser.error(f"{args.command} takes no KEY VALUE pairs, but got {' '.join(overrides)}")
    args.overrides = overrides
    args.command_line = without_home(f"{prog or 'python tools/benchmark.py'} {shlex.join(arguments)}")
    return args


def _split_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Options, and the KEY VALUE pairs after them: argparse would take a key for one more row or seed."""
    for place, argument in enumerate(arguments):
        if place and KEY.match(argument) and ("." in argument or argument in ("SEED", "OUTPUT_DIR", "CUDNN_BENCHMARK")):
            return arguments[:place], arguments[place:]
    return arguments, []


def command_run(args: argparse.Namespace) -> int:
    made_by, folder = provenance_now(), ResultsFolder(args.output)
    runner = Runner(folder, made_by, jobs=args.jobs, allow_mixed=args.allow_mixed)
    suite = load_suite(args.suite)
    rows = select(suite.rows, args.tables, args.rows, suite.path)
    per_seed = args.teachers_per_seed or (suite.teachers_per_seed and not args.given_teachers)
    teachers = (suite.teacher_seed, per_seed, args.given_teachers)
    planner = Planner(args.output, args.scale, args.overrides, *teachers)
    runs = planner.plan(suite, rows, args.seeds)
    with folder.lock():
        folder.refuse_mixing(runs, made_by, allow_mixed=args.allow_mixed)
        # It also draws the data sets: runs that begin at once find them there.
        check_runs(runs)
        invocation = {
            "command": args.command_line,
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "suite": relative(args.suite),
            "scale": args.scale and relative(args.scale),
            "overrides": [without_home(text) for text in args.overrides],
            "teachers": planner.teachers,
            "jobs": args.jobs,
            **made_by,
        }
        folder.add_plan(suite, runs, invocation)
        failed = []
        try:
            failed = runner.make(runs)
        finally:
            # Also after Ctrl-C: the tables of what is there.
            _report(folder, time_networks=sys.exc_info()[0] is None)
    if failed:
        print(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again.", file=sys.stderr)
    return 1 if failed else 0


def command_list(args: argparse.Namespace) -> None:
    suite = load_suite(args.suite)
    chosen = select(suite.rows, args.tables, args.rows, suite.path)
    rows = [
        [row.table, row.name, relative(row.config), row.paper.get("map", ""), row.paper.get("recall", "")]
        for row in [*chosen, *(() if args.tables or args.rows else suite.efficiency)]
    ]
    print(tabulate(rows, headers=("table", "row", "config", "paper's mAP", "paper's recall"), disable_numparse=True))


def command_report(args: argparse.Namespace) -> None:
    _report(ResultsFolder(args.output), time_networks=False)


def command_efficiency(args: argparse.Namespace) -> None:
    suite = load_suite(args.suite)
    if not suite.efficiency:
        raise ValueError(f"{args.suite} lists nothing under efficiency.")
    if args.threads:
        torch.set_num_threads(args.threads)
    options = {"size": args.size, "images": args.images, "rounds": args.rounds}
    networks = efficiency.compare(suite.efficiency, **options)
    print(efficiency.write(networks, args.output, **options, command=args.command_line))


def command_speed(args: argparse.Namespace) -> int:
    configs = {"student": args.student, "nano": args.nano, "teacher": args.teacher}
    setups = [speed.Setup.on(device, configs, args.size, args.images) for device in speed.devices_here(args.device)]
    report, options = speed.SpeedReport(args.rounds), {"size": args.size, "command": args.command_line}
    sound = speed.measure(report, setups, args.only, save=lambda: speed.write(report, args.output, **options))
    print(speed.write(report, args.output, **options))
    return 0 if sound else 1


def command_robustness(args: argparse.Namespace) -> None:
    if args.network and (args.tables or args.rows):
        raise ValueError("--network names checkpoints, --tables and --rows runs of the --output folder; give one kind.")
    check_libraries()
    folder = ResultsFolder(args.output)
    if args.network:
        found = networks.from_files(args.network)
    else:
        found, left_out = networks.from_results(folder, args.tables, args.rows)
        if left_out:
            print(f"Left out, since they are not finished: {'; '.join(left_out)}.", file=sys.stderr)
    options = {"corruptions": args.corruptions, "severities": args.severities, "batch": args.batch}
    with folder.lock():
        made_by = provenance_now()
        content = robustness.measure(found, args.output, **options, command=args.command_line, made_by=made_by)
        print(robustness_report.write(content, args.output))
    print(f"Results: {args.output / 'robustness.md'}, and .json, .csv and .png in the same folder.")


def _report(folder: ResultsFolder, *, time_networks: bool) -> None:
    write_report(folder)
    speeds = efficiency.measure_latency(folder) if time_networks else efficiency.read_latency(folder)
    plots.draw_all(folder, speeds)
    print(f"Results: {folder.path / 'tables.md'}, results.csv, results.json and pictures beside them.")


main = command_main(parse_args, lambda args: args.function(args), stopped="Stopped; the same command continues.")
