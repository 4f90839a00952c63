"""eulernet beside its peers on one machine, in one run: preparing Criteo's raw text, and training EulerNet.

    python benchmarks/bench_peers.py prepare --criteo train.txt --rows 1000000 [--peers ours,fuxictr,recbole,pandas]
    python benchmarks/bench_peers.py prepare --criteo train.txt --runs 3 --json peers.json --fuxictr ../FuxiCTR
    python benchmarks/bench_peers.py train --fuxictr ../FuxiCTR --runs 9 --json training.json
    python benchmarks/bench_peers.py train --fuxictr ../FuxiCTR --settings criteo --batch-sizes 1024 \\
        --thread-counts 2 --ours-options 'bf16: train.precision=bf16'

Training: EulerNet in the paper's Criteo and MovieLens settings on drawn ids of realistic skew, every system in a
process of its own that stays, a turn of each after the other (--runs rounds). The peers take the steps and the
evaluation of their own trainers, with the penalty that they have for EulerNet, but find their batches in memory;
ours is the whole loop, drawing the order and gathering the rows included. "allocator tuned" is a peer under
MALLOC_MMAP_THRESHOLD_ and its like in the environment, which eulernet sets for itself.

Preparing: each system works on the same first rows, in an environment of its own, made once below --envs (some GB),
through a small driver in peers/. Seconds are wall time of a whole process, its imports included. Peak memory is
that of the whole tree of processes, sampled: proportional set sizes (Pss), in which a page counts once however often it
is mapped. The sum of resident sets stands in the JSON beside it, and can be far off: FuxiCTR maps its csv once for each
column, which makes 0.7 GB of its own look like 7. Runs go round the systems in turn; figures are medians over runs. A
peer that cannot read the raw text gets a conversion that is as cheap as we could make it; it is timed, but the ratios
leave it out.

Linux only. Temporary files go where TMPDIR says.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import bench_training
from alternating import DRIVERS, ROOT, THREADS, WorkerError, machine
from usage import PeerError, adopt_orphans, last_error, measure

# What pip installs for each peer: versions that were tried together.
ENVIRONMENTS = {
    "fuxictr": ("torch==2.13.0", "polars==1.40.1", "Keras-Preprocessing==1.1.2", "fuxictr==2.3.10"),
    "recbole": ("torch==2.13.0", "numpy==1.26.4", "pandas==2.2.3", "recbole==1.2.1"),
    "pandas": ("numpy==2.4.6", "pandas==3.1.1"),
}
RECORDED = ("eulernet", "fuxictr", "recbole", "torch", "numpy", "pandas", "polars", "pyarrow", "ray")
OUR_IDS = """
import json, pathlib, sys
from eulernet.data.dataset import Dataset
print(json.dumps({"ids": sum(Dataset.open(pathlib.Path(sys.argv[1])).field_sizes)}))
"""


def main() -> None:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--peers", default="ours,fuxictr,recbole,pandas", help="which, with commas (default: all)")
    common.add_argument("--runs", type=int, default=1, help="runs of each; medians are reported (default: 1)")
    common.add_argument("--threads", type=int, default=os.cpu_count(), help="threads that libraries are told to use")
    common.add_argument("--json", type=Path, help="also write the figures there")
    common.add_argument("--envs", type=Path, default=ROOT / ".envs", help="the peers' environments (default: .envs)")
    common.add_argument("--fuxictr", type=Path, metavar="CHECKOUT", help="also run FuxiCTR from this checkout")

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("prepare", parents=[common], help="raw text to a store")
    command.add_argument(
        "--criteo", type=Path, required=True, metavar="FILE", help="Kaggle's train.txt, or as much of it"
    )
    command.add_argument("--rows", type=int, default=1_000_000, help="first rows of it (default: 1,000,000)")
    command.set_defaults(run=prepare)
    command = commands.add_parser("train", parents=[common], help="training, evaluation and the first step of EulerNet")
    bench_training.add_arguments(command)
    command.set_defaults(run=train)

    args = parser.parse_args()
    args.peers = args.peers.split(",")
    if unknown := [name for name in args.peers if name != "ours" and name not in ENVIRONMENTS]:
        sys.exit(f"error: unknown peer {unknown[0]!r}; there are ours, {', '.join(ENVIRONMENTS)}")
    if args.fuxictr and not (args.fuxictr / "fuxictr" / "__init__.py").is_file():
        sys.exit(f"error: {args.fuxictr}: no checkout of FuxiCTR")
    if args.runs < 1 or args.threads < 1:
        sys.exit("error: --runs and --threads should be at least 1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a stop cleans up too
    adopt_orphans()
    try:
        args.run(args)
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}")
    except WorkerError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


@dataclass(frozen=True)
class System:
    """One system under measurement: an interpreter that has it, and what its processes get in the environment."""

    name: str
    kind: str  # ours or a key of ENVIRONMENTS: which driver speaks to it
    python: Path
    env: dict[str, str]
    versions: dict[str, str]

    @property
    def version(self) -> str:
        return self.versions.get("checkout") or self.versions.get({"ours": "eulernet"}.get(self.kind, self.kind), "")


def systems(args: argparse.Namespace) -> tuple[list[System], dict[str, str]]:
    """The systems that were asked for, their environments made if needed, and for those without one, why."""
    found, failed = [], {}
    for kind in args.peers:
        try:
            python = Path(sys.executable) if kind == "ours" else environment(kind, args.envs.resolve())
        except PeerError as error:
            failed[kind] = str(error)
            continue
        found.append(System(kind, kind, python, {} if kind == "ours" else {"PYTHONPATH": ""}, versions(python)))
        if kind == "fuxictr" and args.fuxictr:
            checkout = args.fuxictr.resolve()
            git = subprocess.run(
                ["git", "-C", checkout, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
            )
            commit = {"checkout": git.stdout.strip() or "checkout"}
            found.append(System("fuxictr-git", kind, python, {"PYTHONPATH": str(checkout)}, versions(python) | commit))
    return found, failed


def environment(kind: str, folder: Path) -> Path:
    """The interpreter of the environment of a peer, made or made anew where the stamp in it names other versions."""
    home = folder / kind
    python, stamp, wanted = home / "bin" / "python", home / "packages.txt", "\n".join(ENVIRONMENTS[kind]) + "\n"
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    say(f"making {home} ({', '.join(ENVIRONMENTS[kind])}) ...")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *ENVIRONMENTS[kind]]
    for command in ([sys.executable, "-m", "venv", "--clear", home], pip):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise PeerError(last_error(done.stdout))
    stamp.write_text(wanted)
    return python


def versions(python: Path) -> dict[str, str]:
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    listed = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout
    installed = {name.lower(): version for name, version in json.loads(listed).items()}
    return {name: installed[name] for name in RECORDED if name in installed}


def prepare(args: argparse.Namespace) -> None:
    """Raw Criteo text to each system's store."""
    if not args.criteo.is_file():
        sys.exit(f"error: {args.criteo}: no such file")
    with tempfile.TemporaryDirectory(prefix="eulernet-peers-") as folder:
        raw = Path(folder) / "criteo.txt"
        say(f"taking the first {args.rows:,} rows of {args.criteo} ...")
        first_rows(args.criteo, args.rows, raw)
        figures = {"task": "prepare", "rows": args.rows, "raw_mib": mib(raw), **machine(), "threads": args.threads}

        def once(system: System) -> dict[str, Any]:
            scratch = Path(folder) / system.name
            try:
                return prepare_once(system, raw, scratch, args)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

        figures["systems"] = in_turn(args, once)
    rows = [prepare_row(name, result, figures) for name, result in figures["systems"].items()]
    print(f"{args.rows:,} rows of Criteo, {figures['raw_mib']:,.0f} MiB of text; medians of {args.runs} runs")
    print("{cpu}, {cores} cores, {memory_gib:.0f} GiB; {threads} threads".format(**figures))
    header = "system|version|convert s|build s|rows/s|x time|CPU s|peak MiB|x peak|disk MiB|ids"
    print_table([header.split("|"), *rows])
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def train(args: argparse.Namespace) -> None:
    """EulerNet's training, evaluation and first step in every system that can: FuxiCTR's model is in its checkout."""
    if args.fuxictr is None and "fuxictr" in args.peers:
        sys.exit("error: EulerNet is not in FuxiCTR's package: give --fuxictr CHECKOUT, or --peers ours,recbole")
    args.peers = [name for name in args.peers if name != "pandas"]
    found, failed = systems(args)
    for name, error in failed.items():
        say(f"{name} failed: {error}")
    found = [system for system in found if system.name != "fuxictr-git"]
    about = {**machine(), "versions": {system.name: system.versions for system in found}}
    figures = about | bench_training.train(args, found)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


def prepare_once(system: System, raw: Path, scratch: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One run of one system: usage of its stages, size of its store, and ids in that, padding and rare included."""
    converted, store = scratch / "converted", scratch / "store"
    for each in (converted, store):
        each.mkdir(parents=True)
    driver = [system.python, DRIVERS / f"{system.kind}_prepare.py"]
    if system.kind == "ours":
        ours = ["-m", "eulernet.prepare", "dataset=criteo", f"raw={raw}", f"data_dir={store}"]
        stages: dict[str, list[Any]] = {"build": [system.python, *ours]}
    elif system.kind == "pandas":
        stages = {"build": [*driver, "build", raw, store]}
    else:
        stages = {"convert": [*driver, "convert", raw, converted], "build": [*driver, "build", converted, store]}
    env = {f"{name}_NUM_THREADS": str(args.threads) for name in THREADS} | system.env
    env |= {"POLARS_MAX_THREADS": str(args.threads), "RAY_USAGE_STATS_ENABLED": "0"}
    run: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir="/tmp") as ray:  # Ray's sockets need a short path
        for stage, command in stages.items():
            cwd = ROOT if system.kind == "ours" else scratch  # RecBole writes logs where it stands
            usage, printed = measure(command, cwd=cwd, env=env | {"RAY_TMPDIR": ray})
            run[stage] = asdict(usage)
            say(f"  {system.name}: {stage} {usage.seconds:.1f} s, peak {usage.peak_mib:,.0f} MiB")
    if system.kind == "ours":
        store = next(store.glob("**/meta.json"), store).parent
        printed = measure([system.python, "-c", OUR_IDS, store], cwd=ROOT, env=env)[1]
    facts = [line for line in printed.splitlines() if line.startswith('{"ids"')]
    if not facts:
        raise PeerError("ended well, but did not say what it made")
    run |= json.loads(facts[-1])
    return run | {"disk_mib": mib(store)}


def prepare_row(name: str, result: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """A line of the table; ratios are over ours, without the conversion."""
    if "error" in result:
        return [name, result["version"], f"FAILED: {result['error']}"]

    def median(get: Callable[[dict[str, Any]], float], of: dict[str, Any] = result) -> float:
        return statistics.median(get(run) for run in of["runs"])

    def ratio(key: str) -> str:
        ours = figures["systems"].get("ours", {})
        if not ours.get("runs"):
            return ""
        return f"{median(lambda run: run['build'][key]) / median(lambda run: run['build'][key], ours):.2f}"

    build = median(lambda run: run["build"]["seconds"])
    convert = f"{median(lambda run: run['convert']['seconds']):.1f}" if "convert" in result["runs"][0] else ""
    cpu, peak = (median(lambda run, key=key: run["build"][key]) for key in ("cpu_seconds", "peak_mib"))
    disk, ids = (median(lambda run, key=key: run[key]) for key in ("disk_mib", "ids"))
    speed = [convert, f"{build:.1f}", f"{figures['rows'] / build:,.0f}", ratio("seconds"), f"{cpu:.1f}"]
    return [name, result["version"], *speed, f"{peak:,.0f}", ratio("peak_mib"), f"{disk:,.0f}", f"{ids:,.0f}"]


def first_rows(file: Path, rows: int, out: Path) -> None:
    """The first ``rows`` lines of ``file`` in a file of their own: just written, so in the page cache for everyone."""
    if rows < 1:
        sys.exit("error: --rows should be at least 1")
    count = 0
    with file.open("rb") as text, out.open("wb") as copy:
        for line in islice(text, rows):
            if count == 0 and (columns := line.count(b"\t") + 1) != 40:
                sys.exit(f"error: {file}: {columns} columns; Criteo's text has 40, split by tabs, and no header")
            copy.write(line)
            count += 1
    if count < rows:
        sys.exit(f"error: {file}: has {count:,} rows, not {rows:,}; give --rows {count}")


def in_turn(args: argparse.Namespace, once: Callable[[System], dict[str, Any]]) -> dict[str, Any]:
    """``once(system)`` for every system, --runs times round; a system that fails keeps its error and is done."""
    found, failed = systems(args)
    results: dict[str, Any] = {name: {"version": "", "error": error} for name, error in failed.items()}
    results |= {each.name: {"version": each.version, "versions": each.versions, "runs": []} for each in found}
    for number in range(1, args.runs + 1):
        for system in found:
            if "error" in results[system.name]:
                continue
            say(f"run {number} of {args.runs}: {system.name} {system.version} ...")
            try:
                results[system.name]["runs"].append(once(system))
            except PeerError as error:
                results[system.name]["error"] = str(error)
                say(f"  {system.name} failed: {error}")
    return results


def mib(path: Path) -> float:
    """Size of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 2**20


def print_table(rows: list[list[str]]) -> None:
    """Aligned: the first two columns to the left, figures to the right; a short row ends in free text."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in full) for column in range(len(rows[0]))]
    widths[0], widths[1] = (max(len(row[column]) for row in rows) for column in (0, 1))
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 or row not in full else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        print("  ".join(cells).rstrip())


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
