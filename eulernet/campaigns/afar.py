"""Runs of a campaign on the workers of a Dask cluster, one at a time on each of their threads, or of their GPUs.

A run there is the process that it is here (``worker``), started by a task, so that it may crash alone. What it tells
goes to the campaign as events. The folder of the campaign and ``data_dir`` must lie where all workers see them. A run
whose worker died goes on from its last checkpoint on another one, to the same bits; a campaign's end ends its runs
within moments.
"""

import io
import json
import logging
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, Event, Future, get_client, get_worker

from eulernet.campaigns import pool
from eulernet.campaigns.pool import LOG, launching
from eulernet.data.cluster import PATIENCE, Cluster, joined
from eulernet.errors import UserError, require

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between looks whether a run is still wanted
GOES = 20  # seconds that a run takes at most to end when it should
GPU = {"GPU": 1}  # what a worker with a GPU is started with: dask worker --resources GPU=1


@contextmanager
def runs_on(scheduler: str | None, wait: float) -> Iterator[None]:
    """Within it pools start their runs on the cluster of ``scheduler``, or of one made here.

    UserError if it is lost, or has had no worker for ``wait`` seconds when a run should begin.
    """
    jobs, ended = set[Job](), threading.Event()
    with joined(scheduler, wait) as cluster, launching(partial(Job.launch, cluster, jobs)):
        threading.Thread(target=stop_unserved, args=(cluster, jobs, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def stop_unserved(cluster: Cluster, jobs: "set[Job]", ended: threading.Event) -> None:
    """Stop the ``jobs`` where no worker is left, nor comes in time; they may go on later."""
    with suppress(OSError):  # the scheduler is gone
        while not ended.wait(PATIENCE):
            try:
                cluster.require_workers()
            except UserError as error:
                log.warning("%s", error)
                cluster.client.cancel([job.future for job in list(jobs)])


class Job:
    """A run on a worker; it looks like the process that ``subprocess`` gives of one."""

    def __init__(self, client: Client, jobs: "set[Job]", order: dict[str, Any]) -> None:
        self.client, self.jobs, self.topic = client, jobs, f"eulernet-{uuid.uuid4().hex}"
        self.told, self.code, self.lock, self.ended = 0, 0, threading.Lock(), threading.Event()
        reading, self.writing = os.pipe()
        self.stdin, self.stdout = io.BytesIO(), os.fdopen(reading, "rb", buffering=0)
        client.subscribe_topic(self.topic, self.take)
        client.get_events(self.topic)  # so that it is subscribed to before the run tells anything
        need = gpu_of(client, str(order["cfg"]["device"]))
        self.future: Future[tuple[list[str], int]] = client.submit(
            run, order, self.topic, key=self.topic, pure=False, resources=need
        )
        jobs.add(self)
        self.future.add_done_callback(self.end)

    @classmethod
    def launch(cls, cluster: Cluster, jobs: "set[Job]", order: dict[str, Any], slot: int, slots: int) -> "Job":
        """UserError where the scheduler is gone, or no worker is there, or none has the device of ``order``."""
        lost = cluster.client.status != "running"
        require(not lost, "engine=dask: the scheduler was lost; the same command goes on")
        cluster.require_workers()
        return cls(cluster.client, jobs, {**order, "cwd": str(Path.cwd())})

    def take(self, event: tuple[float, str]) -> None:
        self.hear(event[1])

    def hear(self, line: str) -> None:
        """Pass a line on. An epoch that a run has told of before, on a worker that died, is passed on once."""
        with self.lock:
            epoch = json.loads(line).get("epoch", {}).get("epoch") if line.startswith('{"epoch"') else None
            if not self.ended.is_set() and (epoch is None or epoch > self.told):
                self.told = epoch or self.told
                with suppress(OSError):  # nobody listens any more
                    os.write(self.writing, line.encode() + b"\n")

    def end(self, future: "Future[tuple[list[str], int]]") -> None:
        """What the run said at its end, or what became of it; an event may be late, so all is said once more."""
        lines, code = list[str](), -signal.SIGTERM  # lost with its scheduler: the setting is not to blame
        if future.status == "finished":
            with suppress(Exception):
                lines, code = future.result(timeout=GOES)
        elif future.status == "error":
            lines = [json.dumps({"failed": " ".join(str(future.exception()).split())[:300]})]
        for line in lines:
            self.hear(line)
        self.jobs.discard(self)
        with self.lock:
            if not self.ended.is_set():  # kill may be faster than Dask; a second close could hit another run's pipe
                self.code = code
                self.ended.set()
                os.close(self.writing)

    def wait(self) -> int:
        self.ended.wait(GOES)
        return self.code

    def kill(self) -> None:
        """End the run, and wait until its files are left alone."""
        with suppress(Exception):  # the scheduler is gone, and with it the run
            if not self.future.done():
                Event(self.topic, client=self.client).set()
                self.future.exception(timeout=GOES if self.told else LOOK)
            self.future.cancel()
            self.client.unsubscribe_topic(self.topic)
        if not self.ended.is_set():
            self.end(self.future)


def gpu_of(client: Client, device: str) -> dict[str, int] | None:
    """A GPU where the cluster says that it has some, unless the run is to be on a CPU."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    there = any(worker.get("resources", {}).get("GPU") for worker in workers)
    need = f"device={device}: no worker of the cluster says that it has a GPU; start them with --resources GPU=1"
    require(there or not device.startswith("cuda"), need)
    return GPU if there and device != "cpu" else None


def run(order: dict[str, Any], topic: str) -> tuple[list[str], int]:
    """Train on this machine what ``order`` says; all that was told of it, and how the process ended."""
    worker, folder, lines = get_worker(), Path(order["folder"]), list[str]()
    require(folder.is_dir(), f"the worker {worker.address} does not see {folder}")
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            pool.PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=order["cwd"]
        )
    assert process.stdin is not None
    assert process.stdout is not None
    watch = threading.Thread(
        target=end_unwanted, args=(process, worker, topic, Event(topic, client=get_client())), daemon=True
    )
    try:
        watch.start()
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            worker.log_event(topic, lines[-1])
        code = process.wait()
    finally:
        process.kill()
        process.stdin.close()
    return lines, code


def end_unwanted(process: "subprocess.Popen[str]", worker: Any, topic: str, stop: Event) -> None:
    """Kill the ``process`` of the task ``topic`` when the campaign says so, or when Dask has dropped the task."""
    while process.poll() is None:
        task = worker.state.tasks.get(topic)
        with suppress(Exception):  # the scheduler is gone
            if task is None or task.state in ("cancelled", "released") or stop.is_set():
                process.kill()
        time.sleep(LOOK)
