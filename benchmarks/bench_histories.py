"""How fast, and in how much memory, are histories computed from a log?

    python benchmarks/bench_histories.py rows=10000000 length=50 folder=/tmp/histories

Draws a log of so many rows (users and items by Zipf's law, 20 rows a user, times in order but for one row in ten, which
is late) into a CSV file in ``folder``, prepares it with a history of that length and without one, and prints the
seconds of each phase, rows a second, and the peak memory of the process. Two processes, one after the other; what they
wrote is deleted.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl

PIECE = 1_000_000
HISTORY = "{{kind: history, by: user, of: item, order: time, length: {}}}"


def main() -> None:
    given = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if set(given) != {"rows", "length", "folder"}:
        sys.exit(__doc__)
    rows, folder = int(given["rows"]), Path(given["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    draw_log(rows, folder / "log.csv")
    print(f"{rows:,} rows, {(folder / 'log.csv').stat().st_size / 1e9:.2f} GB of text")
    for name, fields in (("with", f"dataset.fields={{seen: {HISTORY.format(given['length'])}}}"), ("without", "")):
        report(name, rows, prepare(folder, [fields] if fields else ["dataset.ignore=[time]"]))
    shutil.rmtree(folder)


def draw_log(rows: int, file: Path) -> None:
    """Columns user, item, time, click, and five more of 10 to 100,000 values."""
    draw, users, items = np.random.default_rng(1), max(rows // 20, 1), max(rows // 100, 10)
    with file.open("wb") as stream:
        for start in range(0, rows, PIECE):
            count = min(PIECE, rows - start)
            time = np.arange(start, start + count) // 3  # a third of all times are equal
            time -= (draw.random(count) < 0.1) * draw.integers(0, rows // 10 + 1, count)
            columns = {
                "user": (draw.zipf(1.2, count) * 7919) % users,
                "item": (draw.zipf(1.1, count) * 104_729) % items,
                "time": time,
                "click": (draw.random(count) < 0.2).astype(np.int8),
                **{f"c{10**k}": draw.integers(10**k, size=count) for k in range(1, 6)},
            }
            pl.DataFrame(columns).write_csv(stream, include_header=start == 0)


def prepare(folder: Path, fields: list[str]) -> dict:
    """The store's summary.json; the store is deleted."""
    command = [
        sys.executable, "-m", "eulernet.prepare", "dataset=table", f"raw={folder / 'log.csv'}", "dataset.label=click",
        f"data_dir={folder / 'data'}", "hydra.run.dir=" + str(folder / "run"), *fields,
    ]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    summary = json.loads(next((folder / "data").rglob("summary.json")).read_text())
    shutil.rmtree(folder / "data")
    return summary


def report(name: str, rows: int, summary: dict) -> None:
    phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in summary["seconds"].items())
    total, peak = sum(summary["seconds"].values()), summary["peak_memory_bytes"] / 2**30
    print(f"{name:7} history: {total:.0f} s ({phases}), {rows / total:,.0f} rows/s, peak {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
