"""The study: every trial of a search in one database, and the rules by which each of them counts exactly once.

A trial that its worker did not end is told FAIL without an ``error`` and enqueued again as another trial, whose
``retry_of`` names it: at every moment either the trial, or the one that repeats it, or the rule that there must be
one, is in the database. A trial that failed by itself has its ``error`` and is not repeated.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from zlib import crc32

import numpy as np
import optuna
from optuna.exceptions import OptunaError
from optuna.pruners import BasePruner, NopPruner, PercentilePruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from eulernet.campaigns.storage import masked, scrubbed, with_quoted_password
from eulernet.errors import UserError, require

DATABASE = "study.db"
GRACE = 300.0  # seconds without a beat after which a trial of another machine is given to somebody else
CARRIED = ("owner", "folder", "core_seconds", "default")  # from a trial to the one that repeats it
BEAT = 60.0  # seconds between beats


def open_study(folder: Path, url: str | None, name: str, digest: str, pruner: BasePruner) -> optuna.Study:
    """The study ``name`` in the database ``url``, or in ``folder``/study.db, made if needed.

    UserError if the database cannot be used, and if the study there searches something else, as ``digest`` says.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)  # it logs cursors that a Ctrl-C leaves open
    try:
        if url is None:
            file = folder / DATABASE
            if not file.exists():  # made aside: a killed start leaves no half of one
                temporary = folder / f".{DATABASE}.new"
                for old in folder.glob(f"{temporary.name}*"):
                    old.unlink()
                storage = RDBStorage(f"sqlite:///{temporary}")
                optuna.create_study(storage=storage, study_name=name, direction="maximize")
                storage.remove_session()
                storage.engine.dispose()
                temporary.replace(file)
            url = f"sqlite:///{file}"
        patient = {"connect_args": {"timeout": 60}} if url.startswith("sqlite:") else {}
        storage = RDBStorage(with_quoted_password(url), engine_kwargs=patient)
        study = optuna.create_study(
            storage=storage, study_name=name, direction="maximize", load_if_exists=True, pruner=pruner
        )
    except (SQLAlchemyError, OptunaError, ImportError, RuntimeError) as error:
        said = scrubbed(str(error).strip().splitlines()[0], url or "")
        raise UserError(f"storage={masked(url or '')}: cannot be used ({said})") from None
    known = study.user_attrs.get("digest")
    if known is None:
        study.set_user_attr("digest", digest)
    other = f"study {name!r} in {masked(url)} searches another space or other settings"
    require(known in (None, digest), f"{other}; give the new one a name with study=")
    return study


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let a Ctrl-C or SIGTERM wait until the block ends. Another one, over a second later, takes effect at once.

    A KeyboardInterrupt in the middle of a query leaves its cursor open. The SQLite file then stays locked, even for
    this process, and the search could not put its trials back into the queue. Only the main thread gets signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[float, int]] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    left_alone = (signal.SIG_IGN, None)  # None: set by C code, which Python cannot put back
    usual = {number: handler for number, handler in handlers.items() if handler not in left_alone}

    def wait(number: int, _: FrameType | None) -> None:
        came.append((time.monotonic(), number))
        if came[-1][0] > came[0][0] + 1:
            came.clear()
            signal.signal(number, usual[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        for number in usual:
            signal.signal(number, wait)
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0][1])


def make_pruner(keep: float, startup: int, warmup: int) -> BasePruner:
    """Stop a trial whose best epoch so far is not among the best share ``keep`` of the trials that came to the end."""
    require(0 < keep <= 1, f"prune.keep must lie in (0, 1], got {keep}")
    require(startup >= 1 and warmup >= 0, "prune.startup must be at least 1, prune.warmup not negative")
    return NopPruner() if keep == 1 else PercentilePruner(100 * keep, n_startup_trials=startup, n_warmup_steps=warmup)


def sampler_seed(seed: int, place: int, owner: str) -> int:
    """What the draw of the ``place``-th setting starts from.

    Whether the search was stopped in between does not matter: what one worker finds in a study of its own depends on
    ``seed`` alone. Owners that share a study draw differently.
    """
    return int(np.random.SeedSequence([seed, place, crc32(owner.encode())]).generate_state(1)[0])


def make_sampler(seed: int, startup: int) -> TPESampler:
    """Tree-structured Parzen estimators over all keys together, after ``startup`` random draws.

    A running trial counts as a bad one, so that workers do not all try the same place.
    """
    return TPESampler(multivariate=True, constant_liar=True, n_startup_trials=startup, seed=seed)


def abandoned(trial: FrozenTrial) -> bool:
    """Its worker was killed: it says nothing of the setting and another trial repeats it."""
    attrs = trial.user_attrs
    return trial.state == TrialState.FAIL and "error" not in attrs and "copy_of" not in attrs


def counted(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that the search consists of: each of its settings once."""
    return [trial for trial in trials if not abandoned(trial) and "copy_of" not in trial.user_attrs]


def requeue(study: optuna.Study, dead: Sequence[FrozenTrial]) -> int:
    """Give up the running trials ``dead`` and enqueue whatever is given up and not yet repeated; how many those are.

    Any number of processes may call it at once, and be killed in it: what it does twice, ``repeated`` undoes.
    """
    for trial in dead:
        with suppress(ValueError, RuntimeError):  # another process was faster
            study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get("retry_of") for trial in trials}
    lost = [trial for trial in trials if abandoned(trial) and trial.number not in again]
    for trial in lost:
        attrs = {key: trial.user_attrs[key] for key in CARRIED if key in trial.user_attrs}
        drawn = "folder" in attrs  # else its worker was killed while it drew
        params = trial.params if drawn else trial.system_attrs.get("fixed_params", {})
        study.enqueue_trial(params, user_attrs=attrs | {"retry_of": trial.number})
    return len(lost)


def repeated(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Whether ``trial`` repeats what an earlier one repeats already; it then ends here, uncounted."""
    origin = trial.user_attrs.get("retry_of")
    earlier = [t.number for t in study.get_trials(deepcopy=False) if t.user_attrs.get("retry_of") == origin]
    if origin is None or min(earlier) == trial.number:
        return False
    trial.set_user_attr("copy_of", min(earlier))
    study.tell(trial, state=TrialState.FAIL)
    return True


class Watch:
    """Tells which running trials are nobody's: their beat did not change for GRACE seconds of this process's clock."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, float]] = {}

    def dead(self, running: Iterable[FrozenTrial], now: float | None = None) -> list[FrozenTrial]:
        now, dead = time.monotonic() if now is None else now, []
        for trial in running:
            beat = trial.user_attrs.get("beat", 0)
            known, since = self._seen.get(trial.number, (None, now))
            if known != beat:
                self._seen[trial.number] = (beat, now)
            elif now - since > GRACE:
                dead.append(trial)
        return dead
