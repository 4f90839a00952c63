"""No trial is lost or counted twice, wherever a process dies."""

import signal
import threading
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from eulernet.campaigns import study as module
from eulernet.campaigns.study import (
    GRACE,
    Watch,
    abandoned,
    counted,
    make_pruner,
    make_sampler,
    open_study,
    repeated,
    requeue,
    sampler_seed,
    undisturbed,
)
from eulernet.errors import UserError

SPACE = {"train.lr": FloatDistribution(1e-3, 1.0)}


class Killed(BaseException):
    pass


@pytest.fixture
def study():
    return optuna.create_study(direction="maximize")


def running(study, number):
    trials = [study.ask(SPACE) for _ in range(number)]
    for trial in trials:
        trial.set_user_attr("folder", f"trials/{trial.number}")
    return [study.trials[trial.number] for trial in trials]


@pytest.mark.parametrize("moment", range(7))
def test_requeue_killed_anywhere_and_called_again_repeats_each_trial_once(study, monkeypatch, moment):
    dead = running(study, 3)
    calls = 0

    def mortal(method):
        def call(*args, **kwargs):
            nonlocal calls
            if calls == moment:
                raise Killed
            calls += 1
            return method(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for name in ("tell", "enqueue_trial"):
            patch.setattr(study, name, mortal(getattr(study, name)))
        try:
            requeue(study, dead)
            assert moment == 6
        except Killed:
            pass
    requeue(study, [trial for trial in study.trials if trial.state == TrialState.RUNNING])
    assert requeue(study, []) == 0
    assert [trial.state.name for trial in study.trials[:3]] == ["FAIL"] * 3
    again = [study.ask(SPACE) for _ in range(3)]
    assert sorted(trial.user_attrs["retry_of"] for trial in again) == [0, 1, 2]
    for trial in again:
        assert trial.params == dead[trial.user_attrs["retry_of"]].params
        assert trial.user_attrs["folder"] == f"trials/{trial.user_attrs['retry_of']}"
    assert len(counted(study.trials)) == 3
    assert study.ask(SPACE).number == 6  # nothing else waits


def test_a_trial_killed_while_it_was_drawn_is_drawn_anew(study):
    trial = study.ask(SPACE)
    requeue(study, [study.trials[trial.number]])
    again = study.ask()
    assert (again.user_attrs, again.params) == ({"retry_of": 0}, {})


def test_of_two_that_repeat_the_same_trial_one_counts(study):
    requeue(study, running(study, 1))
    study.enqueue_trial(study.trials[0].params, user_attrs={"retry_of": 0})  # by another machine, at the same time
    first, second = study.ask(SPACE), study.ask(SPACE)
    assert not repeated(study, first)
    assert repeated(study, second)
    assert not repeated(study, study.ask(SPACE))
    assert [trial.number for trial in counted(study.trials)] == [first.number, 3]
    assert requeue(study, []) == 0


def test_a_trial_that_failed_by_itself_counts_and_is_not_repeated(study):
    trial = study.ask(SPACE)
    trial.set_user_attr("error", "out of memory")
    study.tell(trial, state=TrialState.FAIL)
    assert not abandoned(study.trials[0])
    assert requeue(study, []) == 0
    assert len(counted(study.trials)) == 1


def test_a_trial_is_dead_when_its_beat_stands_still(study):
    trial, watch = study.ask(SPACE), Watch()
    assert watch.dead(study.trials, now=0.0) == []
    assert watch.dead(study.trials, now=GRACE - 1) == []
    trial.set_user_attr("beat", 1)
    assert watch.dead(study.trials, now=GRACE + 1) == []
    assert watch.dead(study.trials, now=2 * GRACE) == []
    assert [t.number for t in watch.dead(study.trials, now=2 * GRACE + 2)] == [0]


def test_draws_depend_on_the_seed_and_the_place_alone(study):
    def draw(study, place, owner=""):
        study.sampler = make_sampler(sampler_seed(2022, place, owner), startup=2)
        trial = study.ask(SPACE)
        study.tell(trial, trial.params["train.lr"])
        return trial.params

    other = optuna.create_study(direction="maximize")
    draws = [draw(study, place) for place in range(4)]
    other.ask(SPACE)
    requeue(other, other.trials)
    other.tell(other.ask(), state=TrialState.FAIL)
    assert [draw(other, place) for place in range(4)] == draws
    assert len({params["train.lr"] for params in draws}) == 4
    assert draw(study, 0, "another machine") != draws[0]


def test_a_study_is_found_again_and_not_mixed_with_another(tmp_path):
    open_study(tmp_path, None, "toy", "abc", optuna.pruners.NopPruner()).ask(SPACE)
    url = f"sqlite:///{tmp_path}/study.db"
    assert len(open_study(tmp_path, url, "toy", "abc", optuna.pruners.NopPruner()).trials) == 1
    with pytest.raises(UserError, match="searches another space or other settings"):
        open_study(tmp_path, url, "toy", "other", optuna.pruners.NopPruner())


@pytest.mark.parametrize("url", ["nonsense", "sqlite:////nowhere/at/all/study.db", "nodb://host/name"])
def test_a_database_that_cannot_be_used(tmp_path, url):
    with pytest.raises(UserError, match="cannot be used") as refused:
        open_study(tmp_path, url, "toy", "abc", optuna.pruners.NopPruner())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_waits_until_the_block_ends(stops, number, monkeypatch):
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 7.0))
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():  # noqa: PT012
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)  # the same stop, sent to the process and to its group
        done.append(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_a_second_stop_a_second_later_does_not_wait(stops, monkeypatch):
    clock, heard = iter([7.0, 7.9, 8.1]), []

    def stop(*_):
        heard.append(1)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    done = []
    with pytest.raises(KeyboardInterrupt), undisturbed():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append(1)
        signal.raise_signal(signal.SIGINT)
        done.append(2)
    assert done == [1]
    assert heard == [1]  # once, not again at the end of the block
    assert signal.getsignal(signal.SIGINT) is stop
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_an_ignored_stop_stays_ignored_and_other_threads_need_no_handler(stops):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with undisturbed():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    seen = []

    def elsewhere():
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_impossible_pruners():
    with pytest.raises(UserError, match=r"prune.keep must lie in \(0, 1\], got 0"):
        make_pruner(0, 1, 1)
    with pytest.raises(UserError, match=r"prune.startup must be at least 1"):
        make_pruner(0.5, 0, 1)
