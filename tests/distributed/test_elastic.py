"""torchrun starts ranks again: the run goes on by itself with those that are left, as one that is resumed by hand."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import processes
import pytest
import torch
from processes import SYNTHETIC, run_command, strike

from eulernet.cli.resume import restarted
from eulernet.distributed import launch

RUN = (*SYNTHETIC, "train.embedding=sharded", "train.checkpoint_every=2", "hydra.run.dir=run", "reference=false")


def test_a_restarted_command_goes_on_with_the_run_that_was_begun(tmp_path):
    run, typed = tmp_path / "run", ["model=fm", "train.lr=0.1", "device=cpu", "train.max_epochs=9"]
    assert restarted(typed, None) == typed
    run.mkdir()
    (run / "config.yaml").touch()
    assert restarted(typed, str(run)) == [*typed, f"hydra.run.dir={run}"]
    assert not (run / "config.yaml").exists()  # it had no checkpoint: begun anew
    (run / "last.ckpt").touch()
    goes_on = [f"resume={run}", "device=cpu", "train.max_epochs=9"]
    for argv in (typed, [*typed, f"hydra.run.dir={run}"], goes_on):
        assert restarted(argv, str(run)) == goes_on


def test_only_the_run_that_the_same_command_began_is_gone_on_with(tmp_path, monkeypatch):
    """torchrun forgot which run it was: a folder that holds another one is refused, not taken over."""
    monkeypatch.setattr(launch, "rendezvous_store", torch.distributed.HashStore)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "it")
    typed = ["model=fm", f"hydra.run.dir={tmp_path}"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert launch.begun(typed) is None  # a run of somebody else, or a finished one
    launch.sign(tmp_path, typed)
    assert launch.begun(typed) == str(tmp_path)
    assert launch.begun(["model=lr", typed[1]]) is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    assert launch.begun(typed) is None
    launch.sign(tmp_path, typed)  # the sign of the first stays
    assert launch.begun(typed) is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "it")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert launch.begun(typed) is None


def test_ranks_that_start_again_do_not_hear_the_words_of_those_before(monkeypatch):
    """The store still has a rank 1 that was ready for another leader."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(launch, "rendezvous_store", lambda: store)
    monkeypatch.setattr(launch, "_connect", lambda *_: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "it")
    left = {"name 1": "old", "job old": '{"group": "first"}', "ready first old": "", "begin first": "yes"}
    for key, value in left.items():
        store.set(key, value)
    assert launch.begun([]) is None
    job = {"run": "here", "rank_timeout": 1}
    leader = threading.Thread(target=launch.lead, args=(job, torch.device("cpu")))
    leader.start()
    leader.join(0.5)
    assert leader.is_alive()
    monkeypatch.setenv("RANK", "1")
    built = launch.follow(lambda given: (given, torch.device("cpu")))
    leader.join(60)
    assert not leader.is_alive()
    assert built == {**job, "group": built["group"]}
    assert built["group"] != "first"
    assert launch.begun([]) == "here"


STRIKE = """
import os, signal
from eulernet.models import EulerNet
from eulernet.train import main

steps, calculate_loss = iter(range(1, 10**6)), EulerNet.calculate_loss

def struck(self, x, y):
    if next(steps) == 10:
        if {agent}:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return calculate_loss(self, x, y)

if os.environ["RANK"] == "{rank}" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    EulerNet.calculate_loss = struck
main()
"""


def torchrun(work: Path, rank: int, agents: list[list[str]]) -> list[int]:
    """The exit codes of ``agents``. ``rank`` is killed at its 10th batch, in epoch 2, with an agent of its own."""
    work.mkdir()
    (work / "strike.py").write_text(STRIKE.format(agent=len(agents) > 1, rank=rank))
    started = []
    for number, options in enumerate(agents):
        with (work / f"agent{number}.log").open("w") as log:
            started.append(subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *options, str(work / "strike.py"), *RUN],
                cwd=work, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
            ))  # fmt: skip
    return [agent.wait() for agent in started]


def found(run: Path) -> tuple[bytes, dict, list]:
    """The weights, the measures and the epochs."""
    report = json.loads((run / "report.json").read_text())
    with (run / "metrics.csv").open(newline="") as file:
        timed = ("seconds", "samples_per_second")
        rows = [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]
    return (run / "model.safetensors").read_bytes(), {key: report[key] for key in ("valid", "test", "best_epoch")}, rows


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_died_is_started_again_and_nothing_differs(tmp_path, rank):
    """The end is that of a run that was never stopped, to the bit."""
    agent = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    assert torchrun(tmp_path / "struck", rank, [agent]) == [0]
    assert run_command(tmp_path, *RUN) == [0, 0]
    assert found(tmp_path / "struck" / "run") == found(tmp_path / "work" / "run")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_machine_that_died_leaves_a_run_that_the_others_end(tmp_path, rank):
    """Two agents of a rank each. To the bit it is a run that lost that rank, and that one process then resumed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = ["--nnodes", "1:2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-backend", "c10d"]
    meeting += ["--rdzv-endpoint", f"127.0.0.1:{port}"]
    calm = "last_call_timeout=15,keep_alive_interval=1,keep_alive_max_attempt=3"
    agents = [[*meeting, "--rdzv-conf", f"{calm},is_host={int(number != rank)}"] for number in range(2)]
    assert sorted(torchrun(tmp_path / "struck", rank, agents)) == [-signal.SIGKILL, 0]
    (tmp_path / "work").mkdir()
    members = processes.start(2, strike, rank, signal.SIGKILL, tmp_path / "work", *RUN, folder=tmp_path / "two")
    processes.finish(members, tmp_path / "two")
    assert run_command(tmp_path, "resume=run", world=1) == [0]
    assert found(tmp_path / "struck" / "run") == found(tmp_path / "work" / "run")
