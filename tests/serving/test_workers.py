"""The line between a supervisor and its workers, without processes: nobody waits for an answer that never comes."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from eulernet.errors import UserError
from eulernet.serving import workers
from eulernet.serving.workers import Link, Supervisor, Worker


class Lines:
    """Keeps what is written."""

    def __init__(self):
        self.said = []

    def write(self, line):
        self.said.append(json.loads(line))


@pytest.mark.parametrize("error", [UserError("damaged"), MemoryError(), OSError("gone")])
def test_a_worker_says_what_went_wrong_and_goes_on(error):
    async def main():
        async def load(path):
            if path == Path("bad"):
                raise error

        reader, writer, stopped = asyncio.StreamReader(), Lines(), []
        for path in ("bad", "good"):
            reader.feed_data(json.dumps({"load": path}).encode() + b"\n")
        reader.feed_eof()
        server = SimpleNamespace(stop=lambda: stopped.append(True))
        await Link(reader, writer).listen(SimpleNamespace(load=load), server)
        return writer.said, stopped

    said, stopped = asyncio.run(main())
    assert len(said) == 2
    assert said[0]["loaded"]
    assert said[1] == {"loaded": None}
    assert stopped == [True]


def test_a_worker_that_cannot_be_started_is_tried_again(monkeypatch, capsys):
    async def main():
        tried = []

        async def start(self):
            tried.append(True)
            if len(tried) == 3:
                self.ending.set()
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(Supervisor, "start", start)
        monkeypatch.setattr(workers, "PAUSES", (0.0, 0.001))
        supervisor = Supervisor(Path("run"), None, SimpleNamespace(reload_from=None), {})
        await asyncio.wait_for(supervisor.keep(), 60)
        return tried

    assert len(asyncio.run(main())) == 3
    assert capsys.readouterr().err.count("no worker could be started") == 3


def test_a_worker_that_is_slow_to_start_has_twice_the_time_at_the_next(monkeypatch):
    async def main():
        given = []

        async def start(self):
            return Worker(SimpleNamespace(pid=7), None)

        async def watch(self, worker, patience):
            given.append(patience)
            worker.ready = len(given) == 4
            if len(given) == 5:
                self.ending.set()
            return "gave no sign of life"

        monkeypatch.setattr(Supervisor, "start", start)
        monkeypatch.setattr(Supervisor, "watch", watch)
        monkeypatch.setattr(workers, "PAUSES", (0.0, 0.0, 0.0, 0.0, 0.0))
        supervisor = Supervisor(Path("run"), None, SimpleNamespace(reload_from=None, start_seconds=10.0), {})
        await asyncio.wait_for(supervisor.keep(), 60)
        return given

    assert asyncio.run(main()) == [10, 20, 40, 80, 10]


def test_a_worker_that_cannot_load_is_ended_so_that_none_answers_with_the_old_model(monkeypatch, capsys):
    async def main():
        monkeypatch.setattr(workers, "load", lambda path, device, backend: None)
        supervisor = Supervisor(Path("run"), None, SimpleNamespace(reload_from=None, backend="torch"), {})
        ended = []
        for wrong in (None, "too little memory"):
            worker = Worker(SimpleNamespace(pid=7, terminate=lambda wrong=wrong: ended.append(wrong)), None)

            async def load(path, wrong=wrong):
                return wrong

            worker.load = load
            supervisor.workers.add(worker)
        await supervisor.load(Path("new"))
        return ended

    assert asyncio.run(main()) == ["too little memory"]
    assert "worker 7 did not load new: too little memory" in capsys.readouterr().err
