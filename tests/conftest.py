"""Shapes in signatures are enforced while testing; raw files, real and hand-written, as fixtures."""

import logging
import os
import signal
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import forking
import jaxtyping
import pytest
import torch
from hypothesis import settings

forking.install()
torch.set_num_threads(1)  # tests run side by side
settings.register_profile("eulernet", deadline=None)  # first calls import and compile
settings.load_profile("eulernet")

# All but layers.planes: the compiler cannot trace the checks of an autograd.Function's methods.
LAYERS = [f"layers.{layer}" for layer in ("cross", "dropout", "euler", "head", "mlp", "products")]
CHECKED = ("features", *LAYERS, "models", "data.dataset")
jaxtyping.install_import_hook([f"eulernet.{module}" for module in CHECKED], "beartype.beartype").__enter__()

from trained import copy_of_run, trained  # noqa: E402, F401  # after the hook

import eulernet.cli  # noqa: E402, F401  # conf/ takes its resolvers

REPOSITORY = Path(__file__).parents[1]
RAW = [Path(os.environ.get("EULERNET_RAW", "raw")), REPOSITORY / "data" / "raw", REPOSITORY.parent / "shared" / "data"]


def raw_folder(name: str, file: str) -> Path:
    """A folder of real raw files, in GroupLens' own form; the test is skipped where there is none."""
    for root in RAW:
        if (root / name / file).is_file():
            return root / name
    pytest.skip(f"no raw {name} files; set EULERNET_RAW to the folder that holds {name}/ (see data/README.md)")


def rows_of(split):
    """The rows of a split of a store, in its order."""
    return split.x if split.order is None else split.x[split.order]


@pytest.fixture
def unchecked():
    """The compiler cannot trace the checks of shapes, and remembers the models before this one."""
    torch.compiler.reset()
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def onnx_registry():
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    return cache(ONNXRegistry.from_torchlib)


@pytest.fixture
def quick_onnx(monkeypatch, onnx_registry):
    """The exporter makes its table of all operators anew each time: half the time of a small model."""
    registry = "torch.onnx._internal.exporter._registration.ONNXRegistry"
    monkeypatch.setattr(f"{registry}.from_torchlib", lambda *_, **given: onnx_registry(**given))


@pytest.fixture(scope="session")
def criteo_sample() -> Path:
    return raw_folder("criteo", "train.txt") / "train.txt"


@pytest.fixture(scope="session")
def avazu_sample() -> Path:
    return raw_folder("avazu", "train.csv") / "train.csv"


@pytest.fixture(scope="session")
def ml_1m() -> Path:
    return raw_folder("ml-1m", "ratings.dat")


@pytest.fixture(scope="session")
def ml_100k() -> Path:
    return raw_folder("ml-100k", "u.data")


RATINGS = """\
2::10::5::978300760
1::10::4::978302109
1::20::3::978301968
3::30::1::978300275
2::20::2::978824291
1::30::2::978302268
3::10::4::978302039
2::30::5::978300719
3::20::5::978302268
1::40::1::978301368
4::10::2::978302268
4::40::5::978301953
4::20::4::978301777
"""
USERS = """\
1::F::1::10::48067
2::M::56::16::70072
3::M::25::15::55117
4::M::25::10::02460
"""
MOVIES = """\
10::Toy Story (1995)::Animation|Children's|Comedy
20::City of Lost Children, The (Cit\xe9 des enfants perdus, La) (1995)::Adventure
30::2001: A Space Odyssey (1968)::Drama
40::Untitled::Drama
"""


@pytest.fixture
def tiny_1m(tmp_path: Path) -> Path:
    """A hand-written MovieLens-1M folder: 13 ratings, of which 12 are kept."""
    folder = tmp_path / "tiny-1m"
    folder.mkdir()
    (folder / "ratings.dat").write_text(RATINGS)
    (folder / "users.dat").write_text(USERS)
    (folder / "movies.dat").write_text(MOVIES, encoding="latin-1")
    return folder


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_command(tmp_path, monkeypatch, capfd):
    """Run ``python -m eulernet.<name> args`` inside this process, in an empty folder: (name, *args) -> Ended."""
    import importlib

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def run(name: str, *args: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [f"eulernet-{name}", *args])
        handlers = list(logging.root.handlers)
        signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as ended:
            importlib.import_module(f"eulernet.{name}").main()
        logging.root.handlers[:] = handlers  # Hydra's write to the run folder of this call
        for number, handler in signals.items():
            signal.signal(number, handler)
        printed = capfd.readouterr()
        code = ended.value.code
        if isinstance(code, str):  # what sys.exit prints when it ends the interpreter
            return Ended(1, printed.out, printed.err + code)
        return Ended(int(code or 0), printed.out, printed.err)

    return run
