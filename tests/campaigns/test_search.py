"""The search's loop over trials that are tiny programs: every way to end, stopping early, going on."""

import signal
import sys
import time

import optuna
import pytest
from optuna.pruners import NopPruner
from optuna.trial import TrialState
from sqlalchemy import Engine, event

from eulernet.campaigns import pool
from eulernet.campaigns.findings import plot_history, plot_importance, tuned_cell, write_table
from eulernet.campaigns.search import Plan, Search, best_trial, duration
from eulernet.campaigns.space import read_space
from eulernet.campaigns.study import counted, make_pruner, open_study
from eulernet.errors import DiskFull, UserError

PROGRAM = """
import json, os, sys, time
job = json.loads(sys.stdin.readline())
train, epochs = job["cfg"]["train"], 3
def tell(**message):
    print(json.dumps(message), flush=True)
if train["do"] == "crash":
    sys.exit(3)
for epoch in range(1, 1 + epochs):
    about = dict(train_loss=0.5, valid_logloss=0.5, lr=0.1, seconds=1.0, samples_per_second=9.0)
    tell(epoch={"epoch": epoch, "valid_auc": train["auc"] - 0.01 * epoch, **about})
    if train["do"] == "killed":
        os.kill(os.getpid(), 9)
    if train["do"] == "diverge":
        tell(diverged="the training loss is not finite"); sys.exit()
    if train["do"] == "refuse":
        tell(failed="model.orders must be at least 1"); sys.exit()
    if train["do"] == "full":
        tell(full="last.ckpt: the disk is full; free some space"); sys.exit()
    if train["do"] == "hang":
        time.sleep(60)
open(os.path.join(job["folder"], "model.safetensors"), "w").close()
open(os.path.join(job["folder"], ".last.ckpt.123"), "w").close()
tell(done=True)
"""
CFG = {"seed": 1, "device": "auto", "model": {"name": "toy"}, "train": {"do": "fine", "auc": 0.5}}
TREE = {
    "train": {
        "do": {"choices": ["fine", "crash", "killed", "diverge", "refuse", "full", "hang"]},
        "auc": {"low": 0.5, "high": 0.9},
    }
}


@pytest.fixture
def make_search(tmp_path, monkeypatch):
    """A search of toy trials in one folder: (settings to begin with, plan and pruning) -> Search."""
    monkeypatch.setattr(pool, "PROGRAM", [sys.executable, "-c", PROGRAM])
    study = optuna.create_study(direction="maximize")

    def make(*settings, pruner=None, trials=None, workers=2, timeout=None):
        study.pruner = pruner or NopPruner()
        for do, auc in settings:
            study.enqueue_trial({"train.do": do, "train.auc": auc})
        plan = Plan(trials or len(settings), workers, timeout, startup=2, owner="")
        return Search(study, read_space(TREE, CFG), CFG, [], tmp_path, plan)

    return make


def states(study):
    return [trial.state.name for trial in study.trials]


def test_every_way_to_end_counts_once_and_ends_nothing_else(make_search, tmp_path):
    search = make_search(
        ("crash", 0.8), ("fine", 0.7), ("killed", 0.9), ("diverge", 0.9), ("fine", 0.8), ("refuse", 0.6)
    )
    search.run()
    trials = search.study.trials
    assert states(search.study) == ["FAIL", "COMPLETE", "FAIL", "PRUNED", "COMPLETE", "FAIL"]
    assert trials[0].user_attrs["error"] == f"ended with code 3 (see {tmp_path / 'trials' / '0' / 'train.log'})"
    assert trials[2].user_attrs["error"].startswith("killed by signal 9; was it out of memory? (see ")
    assert trials[3].user_attrs["diverged"] == "the training loss is not finite"
    assert trials[5].user_attrs["error"].startswith("model.orders must be at least 1 (see ")
    assert [trials[1].value, trials[4].value] == pytest.approx([0.69, 0.79])
    assert all(t.user_attrs["seed"] == 1 and "sampler_seed" in t.user_attrs for t in trials)
    best = best_trial(search.study)
    assert best.number == 4
    assert best.user_attrs["best_epoch"] == 1
    assert search.summary() == "6/6 trials, 2 complete, 1 stopped early, 3 failed, best 0.790000 (trial 4)"
    left = {file.relative_to(tmp_path / "trials").as_posix() for file in tmp_path.glob("trials/*/*")}
    assert left == {*(f"{n}/train.log" for n in range(6)), "4/model.safetensors"}


def test_a_trial_below_the_median_is_stopped_at_once(make_search):
    search = make_search(("fine", 0.8), ("fine", 0.7), ("hang", 0.6), pruner=make_pruner(0.5, 2, 0), workers=1)
    began = time.monotonic()
    search.run()
    assert time.monotonic() - began < 30
    assert states(search.study) == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert search.study.trials[2].user_attrs["epochs"] == 1


def test_a_search_that_ran_out_of_time_goes_on(make_search):
    def until_the_hanging_trial_is_all_that_runs(search):
        search.late = lambda: [len(worker.epochs) for worker in search.pool.workers] == [1] and not search.to_start()

    search = make_search(("fine", 0.7), ("hang", 0.8))
    until_the_hanging_trial_is_all_that_runs(search)
    search.run()
    assert states(search.study) == ["COMPLETE", "FAIL", "WAITING"]
    assert len(counted(search.study.trials)) == 2
    search = make_search(trials=2)
    until_the_hanging_trial_is_all_that_runs(search)
    search.run()
    assert states(search.study) == ["COMPLETE", "FAIL", "FAIL", "WAITING"]
    assert search.study.trials[3].user_attrs["folder"] == "trials/1"


def test_a_search_that_is_late_ends(make_search):
    search = make_search(("hang", 0.7), timeout=0.5)
    search.run()
    assert states(search.study)[-1] == "WAITING"


def test_running_trials_of_a_killed_search_go_on_in_their_folders(make_search):
    search = make_search(("fine", 0.7), trials=1)
    trial = search.study.ask(dict(search.space))
    for key, value in {"owner": "", "folder": "trials/0"}.items():
        trial.set_user_attr(key, value)
    search.run()
    assert states(search.study) == ["FAIL", "COMPLETE"]
    assert search.study.trials[1].user_attrs["retry_of"] == 0
    assert search.study.trials[1].user_attrs["folder"] == "trials/0"
    assert search.study.trials[1].params == trial.params


class Late(Search):
    """Its time is up when its trial has started."""

    def late(self):
        return bool(self.pool.workers)


@pytest.mark.parametrize(
    ("kind", "begin", "statement"),
    [(Search, (Search, "run"), n) for n in (1, 30)]
    + [(Search, (pool.Pool, "start"), n) for n in (1, 2, 9)]
    + [(Late, (Search, "give_back"), n) for n in (1, 15, 20)],
)
def test_a_stop_never_comes_amid_a_query_and_loses_no_trial(
    make_search, stops, tmp_path, monkeypatch, kind, begin, statement
):
    study = open_study(tmp_path, None, "toy", "digest", NopPruner())
    study.enqueue_trial({"train.do": "hang", "train.auc": 0.6})
    search = kind(study, read_space(TREE, CFG), CFG, [], tmp_path, Plan(1, 1, None, startup=2, owner=""))
    make_search()  # for the program of its trials
    seen, ended = -1, []
    usual = getattr(*begin)

    def begun(*args, **kwargs):
        nonlocal seen
        seen = max(seen, 0)
        return usual(*args, **kwargs)

    def stop(*_):
        nonlocal seen
        seen += seen >= 0
        if seen == statement and not ended:
            ended.append("by a stop")
            signal.raise_signal(signal.SIGINT)
            ended.append("later")

    monkeypatch.setattr(*begin, begun)
    event.listen(Engine, "before_cursor_execute", stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            search.run()
    finally:
        event.remove(Engine, "before_cursor_execute", stop)
    assert ended == ["by a stop", "later"]
    assert [trial.state for trial in counted(study.trials)] == [TrialState.WAITING]


def test_a_stop_while_a_worker_is_awaited_is_heard_at_once_and_loses_no_trial(make_search, stops, monkeypatch):
    def wait_for_a_cluster(*_):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("still waiting")

    monkeypatch.setattr(pool.Pool, "start", wait_for_a_cluster)
    search = make_search(("fine", 0.7))
    with pytest.raises(KeyboardInterrupt):
        search.run()
    assert [trial.state for trial in counted(search.study.trials)] == [TrialState.WAITING]


def test_a_search_whose_trials_all_fail_says_why(make_search):
    search = make_search(*[("refuse", 0.5)] * 9, workers=1)
    with pytest.raises(UserError, match=r"the first 3 trials all failed; the last: model.orders must be at least 1"):
        search.run()
    assert len([trial for trial in search.study.trials if trial.state == TrialState.FAIL]) == 3


def test_a_full_disk_ends_the_search_and_counts_against_no_setting(make_search):
    search = make_search(("fine", 0.7), ("full", 0.8), ("fine", 0.6), workers=1)
    with pytest.raises(DiskFull, match="the disk is full; free some space"):
        search.run()
    assert [t.state.name for t in counted(search.study.trials)] == ["COMPLETE", "WAITING", "WAITING"]


def test_new_trials_fill_the_plan(make_search):
    search = make_search(("fine", 0.7), trials=4, pruner=make_pruner(0.5, 1, 5))
    search.space["train.do"] = read_space({"train": {"do": {"choices": ["fine"]}}}, CFG)["train.do"]
    search.run()
    assert states(search.study) == ["COMPLETE"] * 4
    assert search.to_start() == 0


def test_what_a_search_leaves_to_look_at(make_search, tmp_path):
    search = make_search(*[("fine", 0.5 + 0.05 * i) for i in range(6)], ("diverge", 0.9), ("crash", 0.6), workers=4)
    search.run()
    lines = write_table(search.study, tmp_path).read_text().splitlines()
    assert lines[0].startswith("trial,state,train.do,train.auc,best_epoch,epochs,valid_auc,")
    assert len(lines) == 9
    assert lines[7].endswith(",the training loss is not finite")
    plot_history(search.study, tmp_path / "history.png")
    assert plot_importance(search.study, tmp_path / "importance.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("history.png", "importance.png"))


def test_a_tuned_cell_leaves_seeds_to_the_run():
    cfg = {"seed": 3, "model": {"name": "fm", "embedding_dim": 8}, "train": {"lr": 0.1, "shuffle_seed": 3}}
    assert tuned_cell(cfg) == {"model": {"embedding_dim": 8}, "train": {"lr": 0.1}}
    cfg["train"]["shuffle_seed"] = 5
    assert tuned_cell(cfg)["train"] == {"lr": 0.1, "shuffle_seed": 5}


def test_durations():
    assert [duration(s) for s in (-1, 50, 600, 9000)] == ["0 s", "50 s", "10 min", "2.5 h"]
