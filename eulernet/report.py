"""python -m eulernet.report: one HTML page of a finished run, or of all runs in a folder."""

from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.errors import require
from eulernet.memory import keep_freed_memory


@command("report")
def main(given: dict[str, Any]) -> None:
    """Read the runs, score their test rows where weights and store are there, and write the page."""
    runs = given["run"] if isinstance(given["run"], list) else [given["run"]]
    require(all(path is not None and str(path).strip() for path in runs), "run=: give the folder of a run, or of many")
    require(bool(runs), "run=[]: give the folder of a run, or of many")
    for key, what in {"resamples": "the intervals", "importance": "the importance of fields"}.items():
        whole = type(given[key]) is int and given[key] >= 0
        require(whole, f"{key}={given[key]}: should be a whole number, 0 leaves {what} out")
    resamples, rows = given["resamples"], given["importance"]
    from eulernet.reporting.build import build
    from eulernet.training.device import pick_device
    from eulernet.training.files import write_atomically

    keep_freed_memory()
    folders = [Path(str(path)).expanduser() for path in runs]
    output = folders[0] / "report.html" if given["output"] is None else Path(str(given["output"])).expanduser()
    require(not output.is_dir(), f"output={output}: that is a folder; give the file to write")
    data_dir = None if given["data_dir"] is None else Path(str(given["data_dir"]))
    html, count = build(folders, data_dir, pick_device(str(given["device"])), given["user"], resamples, rows, output)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, lambda file: file.write_text(html, encoding="utf-8"))
    what = "1 run" if count == 1 else f"{count} runs"
    print(f"report of {what}, {len(html.encode()) / 1000:.0f} kB: {output}")


if __name__ == "__main__":
    main()
