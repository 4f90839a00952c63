"""python -m eulernet.serve: a trained run behind HTTP."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from eulernet.cli import command
from eulernet.errors import UserError, require
from eulernet.settings import construct


@command("serve")
def main(given: dict[str, Any]) -> None:
    """Serve one run until told to stop."""
    require(bool(given["run"]), "run=: give the folder of a finished run")
    try:
        from eulernet.serving import server, workers
        from eulernet.serving.app import Limits
        from eulernet.serving.backends import load
        from eulernet.serving.server import Serving, bind
    except ImportError as missing:
        raise UserError(f"serve needs {missing.name}: pip install 'eulernet[serve]'") from None
    from eulernet.training.device import pick_device

    path = Path(str(given["run"])).expanduser()
    limits = construct(Limits, {name: given[name] for name in names_of(Limits)}, "")
    serving = construct(Serving, {name: given[name] for name in names_of(Serving)}, "")
    predictor = load(path, pick_device(serving.device), serving.backend)
    with bind(serving) as (listening, where), contextlib.suppress(KeyboardInterrupt):  # as SIGTERM is in a command
        print(f"serving {path} on {where}: POST /predict, GET /docs, /metadata, /metrics, /health, /ready", flush=True)
        if serving.workers == 1:
            server.run(predictor, path, listening, serving, limits)
        else:
            del predictor  # it has shown that the run can be read
            workers.run(path, listening, serving, limits)
    print("stopped")


def names_of(settings: type) -> list[str]:
    return [field.name for field in dataclasses.fields(settings)]


if __name__ == "__main__":
    main()
