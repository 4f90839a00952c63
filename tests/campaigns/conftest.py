"""``eulernet.reproduce`` inside the test's process, and what a stop does there."""

import io
import logging
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from conftest import Ended

from eulernet import reproduce


@pytest.fixture(scope="module")
def in_process():
    """``python -m eulernet.reproduce args`` inside this process, its workers forked: (folder, *args) -> Ended."""
    with pytest.MonkeyPatch.context() as patch:

        def run(folder, *args):
            table = [] if any(arg.startswith("table=") for arg in args) else ["table=toy"]
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["eulernet-reproduce", f"--config-dir={folder / 'conf'}", *table, *args])
            out, err, handlers = io.StringIO(), io.StringIO(), list(logging.root.handlers)
            signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
                reproduce.main()
            logging.root.handlers[:] = handlers  # Hydra's write to the folder of this call
            for number, handler in signals.items():
                signal.signal(number, handler)
            code = ended.value.code
            said = f"{code}\n" if isinstance(code, str) else ""  # what sys.exit prints
            return Ended(1 if said else int(code or 0), out.getvalue(), err.getvalue() + said)

        yield run


@pytest.fixture
def stops():
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, whatever ran in this process before."""
    usual = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in usual.items():
        signal.signal(number, handler)
