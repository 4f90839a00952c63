"""Requests that come in at the same time are read and scored together, by one thread."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from eulernet.errors import UserError
from eulernet.measures.metrics import sigmoid
from eulernet.runs.predictor import Predictor
from eulernet.serving.rows import Refused, Row, Value, read_rows

Answer = np.ndarray | Exception
Kind = type | tuple[type, ...]  # of a value; of a list, with that of its members
EXACT = 2**53  # whole numbers up to it are floats too
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

    Bodies whose columns hold the same types are encoded as one frame; others are not, because a column of mixed types
    is another column.
    """
    found: dict[int, Answer] = {}  # encoded and, in the end, scored; bodies without rows are in none of them
    alike: list[tuple[dict[str, Kind], dict[int, list[Row]]]] = []
    columns = predictor.preprocessor.columns
    lists = {column["name"] for column in predictor.fields if column["type"].startswith("a list")}
    for i, body in enumerate(bodies):
        try:
            rows = read_rows(body, columns, most_rows, lists)
        except Exception as error:
            found[i] = alone(error)
        else:
            if rows:
                join(alike, i, rows)
    for _, members in alike:
        found |= encode(predictor, members)
    ids = {i: part for i, part in found.items() if isinstance(part, np.ndarray)}
    if ids:
        scores = sigmoid(predictor.score(np.concatenate(list(ids.values()))))
        ends = np.cumsum([len(part) for part in ids.values()])
        found |= zip(ids, np.split(scores, ends[:-1]), strict=True)
    return [found.get(i, np.empty(0)) for i in range(len(bodies))]


def join(alike: list[tuple[dict[str, Kind], dict[int, list[Row]]]], i: int, rows: list[Row]) -> None:
    """Put the rows of body ``i`` to the first in ``alike`` whose columns have the same types; else begin a new one."""
    types = types_of(rows)
    for others, members in alike if types else ():
        if others and all(others.get(name, type_) == type_ for name, type_ in types.items()):
            others |= types
            members[i] = rows
            return
    alike.append((types, {i: rows}))


def types_of(rows: Sequence[Row]) -> dict[str, Kind]:
    """The type of each column that is not missing in all rows; nothing if one cannot share a column with others."""
    types: dict[str, Kind] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                kind = type_of(value)
                if kind is None or types.setdefault(name, kind) != kind:
                    return {}
    return types


def type_of(value: Value | list[Value]) -> Kind | None:
    """None for lists of several types, and for large numbers.

    Other whole numbers count as floats, which hold them exactly: in one column both are what each alone would be.
    """
    if isinstance(value, list):
        members = {*map(type, value)}
        return (list, *members) if len(members) <= 1 and all(map(type_of, value)) else None
    if type(value) is int:
        return float if abs(value) <= EXACT else None
    return type(value)


def alone(error: Exception) -> Exception:
    """``error``; if it is no failure, without what it was raised in, which would keep its rows in memory."""
    if isinstance(error, UserError | Refused):
        error.__context__ = error.__traceback__ = None
    return error


def encode(predictor: Predictor, members: Mapping[int, list[Row]]) -> dict[int, Answer]:
    """The ids of the rows of each body, or its error. Where one is at fault, it is found by halves."""
    try:
        ids = predictor.encode([row for rows in members.values() for row in rows])
    except Exception as error:
        if len(members) == 1:
            return dict.fromkeys(members, alone(error))
        every, half = list(members.items()), len(members) // 2
        return encode(predictor, dict(every[:half])) | encode(predictor, dict(every[half:]))
    ends = np.cumsum([len(rows) for rows in members.values()])
    return dict(zip(members, np.split(ids, ends[:-1]), strict=True))
