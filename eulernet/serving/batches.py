"""Requests that come in at the same time are scored together, by one thread."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from eulernet.errors import UserError
from eulernet.measures.metrics import sigmoid
from eulernet.runs.predictor import Predictor

Answer = np.ndarray | Exception


@dataclass(frozen=True)
class Job:
    frame: pl.DataFrame
    answer: "asyncio.Future[np.ndarray]"


class Batcher:
    """Scores frames in a thread of its own. Nothing waits for company: what comes in while it works is its next batch.

    To be used from one event loop. A batch has at most ``most_rows`` rows, or is one frame.
    """

    def __init__(self, predictor: Predictor, most_rows: int) -> None:
        self.predictor = predictor
        self.most_rows = most_rows
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.waiting: deque[Job] = deque()
        self.working = False

    async def predict(self, frame: pl.DataFrame) -> np.ndarray:
        """The click probabilities of ``frame``, as ``Predictor.predict`` gives them, and its UserErrors."""
        job = Job(frame, asyncio.get_running_loop().create_future())
        self.waiting.append(job)
        if not self.working:
            self.work()
        return await job.answer

    def work(self) -> None:
        """Hand the next batch to the thread, if anything waits."""
        jobs, rows = list[Job](), 0
        while self.waiting and (not jobs or rows + len(self.waiting[0].frame) <= self.most_rows):
            jobs.append(self.waiting.popleft())
            rows += len(jobs[-1].frame)
        self.working = bool(jobs)
        if jobs:
            frames = [job.frame for job in jobs]
            done = asyncio.get_running_loop().run_in_executor(self.thread, answer, self.predictor, frames)
            done.add_done_callback(partial(self.deliver, jobs))

    def deliver(self, jobs: Sequence[Job], done: "asyncio.Future[list[Answer]]") -> None:
        error = done.exception()
        answers = [error] * len(jobs) if error else done.result()
        for job, found in zip(jobs, answers, strict=True):
            if job.answer.done():  # its client is gone
                continue
            if isinstance(found, np.ndarray):
                job.answer.set_result(found)
            else:
                job.answer.set_exception(found)
        self.work()

    def close(self) -> None:
        self.thread.shutdown()


def answer(predictor: Predictor, frames: Sequence[pl.DataFrame]) -> list[Answer]:
    """The probabilities of each frame, or the UserError that it alone would have raised.

    Frames of one schema are encoded together; others are not, because a column of mixed types is another column.
    """
    encoded: dict[int, Answer] = {}
    alike: dict[tuple[tuple[str, pl.DataType], ...], list[int]] = {}
    for i, frame in enumerate(frames):
        alike.setdefault(tuple(frame.schema.items()), []).append(i)
    for members in alike.values():
        encoded |= zip(members, encode(predictor, [frames[i] for i in members]), strict=True)
    ids = [part for i in range(len(frames)) if isinstance(part := encoded[i], np.ndarray)]
    scores = sigmoid(predictor.score(np.concatenate(ids))) if ids else np.empty(0)
    ends = np.cumsum([len(part) for part in ids])
    parts = iter(np.split(scores, ends[:-1]))
    return [found if isinstance(found := encoded[i], Exception) else next(parts) for i in range(len(frames))]


def encode(predictor: Predictor, frames: Sequence[pl.DataFrame]) -> list[Answer]:
    """The ids of each frame, or its UserError."""
    try:
        ids = predictor.preprocessor.encode(pl.concat(frames))
    except UserError as error:
        return [error] if len(frames) == 1 else [encode(predictor, [frame])[0] for frame in frames]
    return list(np.split(ids, np.cumsum([len(frame) for frame in frames])[:-1]))
