"""python -m eulernet.export: a trained run as a folder that scores raw rows without eulernet, or its embeddings."""

from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.errors import choose, require


@command("export")
def main(given: dict[str, Any]) -> None:
    """Export one run, and say how exactly its graph repeats the model; or its embeddings alone."""
    require(bool(given["run"]), "run=: give the folder of a finished run")
    from eulernet.exporting.bundle import FORMATS, export
    from eulernet.exporting.embeddings import export_embeddings
    from eulernet.runs.predictor import Predictor

    name, run = str(given["format"]), Path(str(given["run"])).expanduser()
    choose({**FORMATS, "embeddings": None}, name, "format")
    require(given["data_dir"] is None or name == "embeddings", "data_dir= goes with format=embeddings")
    predictor = Predictor.load(run)
    require(given["output"] is not None or run.is_dir(), "output=: give the folder to make")
    output = run / name if given["output"] is None else Path(str(given["output"])).expanduser()
    if name == "embeddings":
        print(export_embeddings(predictor, run, output, given["data_dir"]))
        return
    worst = export(predictor, output, name)
    model, data = predictor.config["model"]["name"], predictor.preprocessor.meta["name"]
    print(f"{model} on {data} as {name}: logits differ by {worst:.0e} at most; try: python {output}/example.py FILE")


if __name__ == "__main__":
    main()
