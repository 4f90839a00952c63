"""python -m eulernet.export: a trained run as a folder that scores raw rows without eulernet."""

from pathlib import Path

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.errors import choose, require
from eulernet.exporting.bundle import FORMATS, export
from eulernet.runs.predictor import Predictor


@command("export")
def main(cfg: DictConfig) -> None:
    """Export one run, and say how exactly its graph repeats the model."""
    given = to_plain(cfg)
    require(bool(given["run"]), "run=: give the folder of a finished run")
    name, run = str(given["format"]), Path(str(given["run"])).expanduser()
    choose(FORMATS, name, "format")
    predictor = Predictor.load(run)
    require(given["output"] is not None or run.is_dir(), "output=: give the folder to make")
    output = run / name if given["output"] is None else Path(str(given["output"])).expanduser()
    worst = export(predictor, output, name)
    model, data = predictor.config["model"]["name"], predictor.preprocessor.meta["name"]
    print(f"{model} on {data} as {name}: logits differ by {worst:.0e} at most; try: python {output}/example.py FILE")


if __name__ == "__main__":
    main()
