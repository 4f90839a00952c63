"""python -m eulernet.serve: a trained run behind HTTP."""

import contextlib
import dataclasses
import sys
from pathlib import Path

from omegaconf import DictConfig

from eulernet.cli import command, to_plain
from eulernet.errors import require
from eulernet.runs.predictor import Predictor
from eulernet.settings import construct

try:
    from eulernet.serving.app import Limits
    from eulernet.serving.server import Serving, bind, run
except ImportError as missing:
    sys.exit(f"error: serve needs {missing.name}: pip install 'eulernet[serve]'")


@command("serve")
def main(cfg: DictConfig) -> None:
    """Serve one run until told to stop."""
    given = to_plain(cfg)
    require(bool(given["run"]), "run=: give the folder of a finished run")
    path = Path(str(given["run"])).expanduser()
    limits = construct(Limits, {name: given[name] for name in names_of(Limits)}, "")
    serving = construct(Serving, {name: given[name] for name in names_of(Serving)}, "")
    predictor = Predictor.load(path)
    with bind(serving) as listening:
        host, port = listening.getsockname()[:2]
        print(f"serving {path} on http://{host}:{port}: POST /predict, GET /metadata, GET /health", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # what SIGTERM is in a command: how a server ends
            run(predictor, path, listening, serving, limits)
    print("stopped")


def names_of(settings: type) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


if __name__ == "__main__":
    main()
