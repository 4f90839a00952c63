"""python -m eulernet.export: a trained run as a folder that scores raw rows without eulernet."""

from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.errors import choose, require


@command("export")
def main(given: dict[str, Any]) -> None:
    """Export one run, and say how exactly its graph repeats the model."""
    require(bool(given["run"]), "run=: give the folder of a finished run")
    from eulernet.exporting.bundle import FORMATS, export
    from eulernet.runs.predictor import Predictor

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
