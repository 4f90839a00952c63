"""train.compile: what auto chooses, and that a resumed run keeps it. The clock and the compiler are stand-ins."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
from torch import nn

from eulernet.training import compiling, loop
from eulernet.training.checkpoint import load_last
from eulernet.training.compiling import TIMED, WARM_UP, Program
from eulernet.training.state import State
from tests.toy import CONFIG, CPU, IDENTITY, new_model, run, toy_data

MEASURED = 2 * (WARM_UP + TIMED)


@pytest.fixture
def compiled(monkeypatch):
    """The models that were compiled: nothing really is."""
    found = []
    monkeypatch.setattr(compiling, "compile_model", lambda model, device: found.append(model))
    return found


def steps(program: Program, number: int, plain: float, compiled: float) -> None:
    """So many whole steps, on a clock by which a plain one and a compiled one take that many seconds."""
    clock = [0.0]
    program.now = lambda: clock[0]  # type: ignore[method-assign]
    for _ in range(number):
        with program.step(whole=True):
            clock[0] += compiled if program.trying else plain


@pytest.mark.parametrize(("plain", "faster"), [(0.010, 0.009), (0.010, 0.011)])
def test_auto_takes_the_faster(plain, faster, compiled):
    program, model = Program("auto"), nn.Linear(1, 1)
    program.begin(model, CPU, sure_steps=1 << 20)
    steps(program, MEASURED - 1, plain, faster)
    assert program.compiled is None
    steps(program, 3, plain, faster)
    assert compiled == [model]
    report = {"compiled": faster < plain, "uncompiled_ms": 1e3 * plain, "compiled_ms": 1e3 * faster}
    assert program.report() == pytest.approx(report)


def test_auto_compiles_nothing_for_a_short_run(compiled):
    program = Program("auto")
    program.begin(nn.Linear(1, 1), CPU, sure_steps=29_000)  # of 10 ms: 290 seconds
    steps(program, MEASURED, 0.010, 0.001)
    assert (program.report(), compiled) == ({"compiled": False, "uncompiled_ms": 10.0}, [])


def test_short_steps_are_neither_compiled_nor_timed(compiled):
    program = Program("auto")
    program.begin(nn.Linear(1, 1), CPU, sure_steps=1 << 20)
    for _ in range(MEASURED):
        with program.step(whole=False):
            pass
    assert program.seconds == {False: [], True: []}


@pytest.mark.parametrize("choice", [True, False])
def test_a_resumed_run_keeps_the_choice(choice, compiled, tmp_path, monkeypatch):
    monkeypatch.setattr(compiling, "WORTH", 0.0)
    data, config, clock = toy_data(tmp_path / "data"), replace(CONFIG, max_epochs=3, compile="auto"), [0.0]

    def now(program: Program) -> float:
        clock[0] += 0.5 if program.trying == choice else 1.0
        return clock[0]

    monkeypatch.setattr(Program, "now", now)
    run(data, tmp_path / "run", config)
    assert load_last(tmp_path / "run", **IDENTITY)["compiled"] is choice
    compiled.clear()
    run(data, tmp_path / "run", replace(config, max_epochs=4), resume=True)
    assert len(compiled) == choice
    assert load_last(tmp_path / "run", **IDENTITY)["compiled"] is choice


def test_all_ranks_count_the_same_steps(tmp_path, monkeypatch):
    """A short last batch, of which this rank has as many rows as of a whole one, while others have fewer."""
    data, seen = toy_data(tmp_path), []
    monkeypatch.setattr(loop, "shard_of", lambda rows: slice(0, min(rows, 96)))
    state = State(new_model(data), CONFIG, CPU)
    monkeypatch.setattr(state.program, "step", lambda whole: seen.append(whole) or nullcontext())
    loop.train_epoch(state, data.train, CONFIG, save=lambda: None)
    assert len(data.train) == 18 * 128 + 96
    assert seen == [True] * 18 + [False]
