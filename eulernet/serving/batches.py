"""Requests that come in at the same time are read and scored together, by one thread."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from eulernet.measures.metrics import sigmoid
from eulernet.runs.predictor import Predictor
from eulernet.serving.rows import Refused, read_rows

Answer = np.ndarray | Exception
BATCH = 1 << 20  # bytes of the bodies of a batch


@dataclass(frozen=True)
class Request:
    body: bytes
    answer: "asyncio.Future[np.ndarray]"


class Batcher:
    """Reads and scores bodies in a thread of its own, so that the event loop is free for connections.

    Nothing waits for company: what comes in while the thread works is its next batch, of at most ``BATCH`` bytes or of
    one body. ``predictor`` may be replaced at any time: every batch is scored by the one that it began with. To be
    used from one event loop.
    """

    def __init__(self, predictor: Predictor, most_rows: int, most_waiting: int) -> None:
        self.predictor = predictor
        self.most_rows = most_rows
        self.most_waiting = most_waiting
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.waiting: deque[Request] = deque()
        self.working = False

    @property
    def full(self) -> bool:
        return len(self.waiting) >= self.most_waiting

    async def predict(self, body: bytes) -> np.ndarray:
        """The click probabilities of the rows in ``body``, as ``Predictor.predict`` gives them, and its UserErrors.

        Refused with 503 when too many wait already, and as ``read_rows`` says.
        """
        if self.full:
            raise Refused(503, "too many requests are waiting; try again")
        request = Request(body, asyncio.get_running_loop().create_future())
        self.waiting.append(request)
        if not self.working:
            self.work()
        return await request.answer

    def work(self) -> None:
        """Hand the next batch to the thread, if anything waits. Who no longer waits for an answer is left out."""
        requests, size = list[Request](), 0
        while self.waiting and (not requests or size + len(self.waiting[0].body) <= BATCH):
            request = self.waiting.popleft()
            if not request.answer.done():
                requests.append(request)
                size += len(request.body)
        self.working = bool(requests)
        if requests:
            bodies = [request.body for request in requests]
            loop = asyncio.get_running_loop()
            done = loop.run_in_executor(self.thread, answer, self.predictor, bodies, self.most_rows)
            done.add_done_callback(partial(self.deliver, requests))

    def deliver(self, requests: Sequence[Request], done: "asyncio.Future[list[Answer]]") -> None:
        error = done.exception()
        answers = [error] * len(requests) if error else done.result()
        for request, found in zip(requests, answers, strict=True):
            if request.answer.done():  # its client is gone
                continue
            if isinstance(found, np.ndarray):
                request.answer.set_result(found)
            else:
                request.answer.set_exception(found)
        self.work()

    def close(self) -> None:
        self.thread.shutdown(cancel_futures=True)


def answer(predictor: Predictor, bodies: Sequence[bytes], most_rows: int) -> list[Answer]:
    """The probabilities of the rows of each body, or the error that it alone would have raised.

    Frames of one schema are encoded together; others are not, because a column of mixed types is another column.
    """
    encoded: dict[int, Answer] = {}  # and, in the end, scored; bodies without rows are in none of them
    alike: dict[tuple[tuple[str, pl.DataType], ...], list[tuple[int, pl.DataFrame]]] = {}
    columns = predictor.preprocessor.columns
    lists = {column["name"] for column in predictor.fields if column["type"].startswith("a list")}
    for i, body in enumerate(bodies):
        try:
            rows = read_rows(body, columns, most_rows, lists)
            frame = predictor.frame(rows)
        except Exception as error:
            encoded[i] = error
        else:
            if rows:
                alike.setdefault(tuple(frame.schema.items()), []).append((i, frame))
    for members in alike.values():
        found = encode(predictor, [frame for _, frame in members])
        encoded |= zip((i for i, _ in members), found, strict=True)
    ids = {i: part for i, part in encoded.items() if isinstance(part, np.ndarray)}
    if ids:
        scores = sigmoid(predictor.score(np.concatenate(list(ids.values()))))
        ends = np.cumsum([len(part) for part in ids.values()])
        encoded |= zip(ids, np.split(scores, ends[:-1]), strict=True)
    return [encoded.get(i, np.empty(0)) for i in range(len(bodies))]


def encode(predictor: Predictor, frames: Sequence[pl.DataFrame]) -> list[Answer]:
    """The ids of each frame, or its error."""
    try:
        ids = predictor.preprocessor.encode(pl.concat(frames))
    except Exception as error:
        return [error] if len(frames) == 1 else [encode(predictor, [frame])[0] for frame in frames]
    return list(np.split(ids, np.cumsum([len(frame) for frame in frames])[:-1]))
