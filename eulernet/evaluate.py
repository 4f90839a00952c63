"""python -m eulernet.evaluate: what is measured of a finished run, with intervals, on a split or on labelled rows."""

from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.errors import require


@command("evaluate")
def main(given: dict[str, Any]) -> None:
    """Measure a run on a split of its store or on labelled raw rows; evaluation.json keeps what was found."""
    require(bool(given["run"]), "run=: give the folder of a finished run")
    for key, least in {"resamples": 0, "seed": 0, "batch_size": 1, "permutations": 1}.items():
        whole = type(given[key]) is int and given[key] >= least
        require(whole, f"{key}={given[key]}: should be a whole number from {least}")
    from eulernet.data.output import suffix_of
    from eulernet.runs.calibrate import calibrate
    from eulernet.runs.evaluate import check_names, evaluate, importance_of, of_files, of_split
    from eulernet.runs.portable import is_archive
    from eulernet.runs.predictor import Predictor
    from eulernet.runs.run import Run
    from eulernet.training.device import pick_device

    path, device = Path(str(given["run"])).expanduser(), pick_device(str(given["device"]))
    packed = path.is_file() and is_archive(path)
    require(not packed, f"run={path}: what is found is written into the folder of the run; unpack it first")
    wanted = given["importance"]
    right = type(wanted) is bool or (type(wanted) is int and wanted >= 2)
    require(right, f"importance={wanted}: give true, false or at most how many rows it takes")
    require(not wanted or given["input"] is None, "importance= goes with split=; leave input= out")
    require(bool(wanted) or not given["importance_groups"], "importance_groups= goes with importance=true")
    predictions = None if given["predictions"] is None else Path(str(given["predictions"])).expanduser()
    if predictions is not None:
        suffix_of(predictions, "predictions")
    of_rows = given["input"] is not None and given["calibrate"] is None  # which takes no report, as of a pushed run
    run, group = Run(path) if of_rows else Run.open(path), None if given["group"] is None else str(given["group"])
    groups = given["importance_groups"] or {}
    if given["input"] is None:
        check_names(run, str(given["split"]), given["data_dir"], group, groups)
    if given["calibrate"] is not None:
        print(calibrate(run, str(given["calibrate"]), given["data_dir"], device, given["batch_size"]))
    if given["input"] is None:
        what = str(given["split"])
        rows = of_split(run, what, group, given["data_dir"], device, given["batch_size"])
    else:
        files = given["input"] if isinstance(given["input"], list) else [given["input"]]
        what = ", ".join(map(str, files))
        paths = [Path(str(file)).expanduser() for file in files]
        rows = of_files(Predictor.load(path, device), paths, group, given["batch_size"])
    worth = None
    if wanted:
        how = {"most": None if wanted is True else wanted, "repeats": given["permutations"], "seed": given["seed"]}
        worth = importance_of(rows, run, groups, **how)
    asked = {"group": group, "resamples": given["resamples"], "seed": given["seed"], "predictions": predictions}
    print(evaluate(rows, run, what, importance=worth, **asked))


if __name__ == "__main__":
    main()
