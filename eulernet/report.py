"""python -m eulernet.report: one HTML page of a finished run, or of all runs in a folder."""

from pathlib import Path

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.errors import require
from eulernet.memory import keep_freed_memory
from eulernet.reporting.build import build
from eulernet.training.device import pick_device
from eulernet.training.files import write_atomically


@command("report")
def main(cfg: DictConfig) -> None:
    """Read the runs, score their test rows where weights and store are there, and write the page."""
    plain = to_plain(cfg)
    given = plain["run"] if isinstance(plain["run"], list) else [plain["run"]]
    require(all(path is not None and str(path).strip() for path in given), "run=: give the folder of a run, or of many")
    require(bool(given), "run=[]: give the folder of a run, or of many")
    resamples = plain["resamples"]
    whole = isinstance(resamples, int) and not isinstance(resamples, bool)
    require(whole and resamples >= 0, f"resamples={resamples}: should be a whole number, 0 leaves the intervals out")
    keep_freed_memory()
    folders = [Path(str(path)).expanduser() for path in given]
    output = folders[0] / "report.html" if plain["output"] is None else Path(str(plain["output"])).expanduser()
    require(not output.is_dir(), f"output={output}: that is a folder; give the file to write")
    data_dir = None if plain["data_dir"] is None else Path(str(plain["data_dir"]))
    html, runs = build(folders, data_dir, pick_device(str(plain["device"])), plain["user"], resamples)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda file: file.write_text(html, encoding="utf-8"))
    what = "1 run" if runs == 1 else f"{runs} runs"
    print(f"report of {what}, {len(html.encode()) / 1000:.0f} kB: {output}")


if __name__ == "__main__":
    main()
