"""Any number of rows in the format of Kaggle's Criteo or Avazu training file, drawn from a seed, for tests of scale.

    python scripts/make_criteo.py --rows 45840617 --seed 1 --out criteo.txt
    python scripts/make_criteo.py --format avazu --rows 40428967 --seed 1 --out avazu.csv [--gzip] [--processes 2]

The rows are nobody's: only rates, shares and counts were measured on real files. What is like them at full size: the
columns and their order, the missing rates and which columns are missing together, the click rate, the share of every
column's frequent values, and the long tail. By the laws below Criteo's 26 categories have 33.76 M distinct values,
of which 1.30 M occur 8 times or more (the EulerNet paper's vocabulary, with about a thousand integer buckets:
1.327 M); Avazu's fields have 9.450 M and 1.542 M that occur 5 times or more (the paper: 1.544 M).
What is not: columns are independent of each other, and nothing but Avazu's hour changes with time.

A column's law is a list of shares in ppm: of its most frequent value, of the second, of the third and fourth, of the
next 4, 8, 16, ... Within such an octave of ranks popularity falls as 1/rank. A label is a click with the probability
that a planted logistic model says: one random weight for each value of a few columns, up or down with the size of a
few integers. AUC is 0.724 (Criteo) and 0.736 (Avazu) at best.

The same seed makes the same bytes, however many processes make them, and more rows begin with the same rows (Avazu:
but for the hour, which always runs over the ten days). Another seed draws other rows by the same laws and weights.
"""

import argparse
import functools
import gzip
import math
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from tqdm import tqdm

CHUNK = 1 << 16  # rows with a random stream of their own: part of the definition of the data
BLOCK = 1 << 13  # rows of text built at a time: as much as a cache holds

# Per column: how many values there are to draw from, then the shares of its octaves in ppm.
# The head is that of a uniform 0.3 % (Avazu: 0.05 %) of the real rows, the tail fits the distinct and the kept counts.
CRITEO = """
I1 426 425631 176557 156240 119909 72078 34393 11699 2882 518 93
I2 10258 664 102006 328039 127148 88421 83317 81377 59356 47900 31063 22423 16421 11251 561 51
I3 65536 4561 160581 187973 199607 172687 130510 82344 38757 15221 4959 1641 473 260 167 93 148 19
I4 350 54294 165899 226153 235983 185049 104996 26706 845 56 19
I5 2071072 18955 23321 14709 28796 28773 27852 27388 31133 36195 34308 47788 135951 114794 136752 116037 73978 54087
    19667 14334 10799 3834 547
I6 111106 65010 35366 57702 83913 112468 140930 156174 138650 100564 63697 29785 11576 3368 657 75 56 1 9
I7 6499 225181 135082 152307 156786 128942 92795 57310 30259 13644 5302 1813 457 114 8
I8 1690 113976 82823 128378 181886 188970 185227 118171 277 175 88 22 7
I9 9466 32178 39431 57699 79814 106644 137726 169836 156146 115504 66985 28522 7770 1562 168 15
I10 8 478548 444009 74654 2789
I11 124 233736 348387 220351 117569 52968 20713 5546 731
I12 194 742734 155974 48907 24438 14812 7918 4161 932 124
I13 1575 63373 161583 218606 225967 178514 110853 35970 4261 808 46 9 9
C1 1460 500434 167844 133580 87794 53099 27520 14956 7717 3591 1736 1266 464
C2 583 113454 42898 74705 124625 149498 140019 138691 117654 71796 26292 367
C3 33554432 26168 10913 20345 33856 46045 49277 52721 51890 56792 47989 46857 44971 38446 39233 37012 30315 26394
    27387 28728 20557 15658 15439 20099 32666 60884 119357
C4 8388608 37081 23170 42057 53869 55825 62931 68671 70604 73149 69434 62687 62867 56529 52356 45306 34594 26545 22139
    18286 14187 12009 11406 11758 12538
C5 305 674236 154391 96107 45450 19134 7131 2382 802 340 28
C6 24 451185 249190 247306 52201 116 2
C7 12517 21212 13140 16378 25923 38399 48104 64358 80342 104186 123342 136176 132666 119230 67613 8932
C8 633 594864 165445 115970 66349 32748 13964 6620 2240 1181 557 62
C9 3 899970 99877 153
C10 524288 222110 14890 13410 19199 28555 37728 49628 61587 79868 91309 93700 92683 79555 58315 34098 16882 5738 669
    67 7
C11 5683 32040 21066 28387 35672 53530 72117 84863 103136 121016 138772 138217 118392 50667 2125
C12 33554432 26168 23170 21395 35668 50486 50569 58914 54707 59231 52193 49089 46195 40474 39610 37293 32647 29333
    28696 28124 22326 18280 17768 21118 29842 47400 79306
C13 3194 32040 23582 30626 47762 60202 78891 95400 113425 129671 139967 135666 91730 21038
C14 27 349120 341734 199557 80101 26506 2982
C15 65536 15532 10632 18171 31508 56804 84498 109159 124399 138939 138954 123532 82378 46783 17128 1582 1 1
C16 16777216 26168 23170 21395 36680 54715 64132 70061 63498 66541 57758 54313 53290 47041 45093 40020 32360 27569
    26623 26151 20845 17679 18169 22779 32974 50976
C17 10 460219 131567 197661 184193 26360
C18 32768 32040 28336 50110 78264 82580 111806 129409 138057 135658 103895 70983 33153 5666 43 1 1
C19 2173 616695 34474 27511 35937 35519 42639 49366 46754 41954 38168 25595 5365 23
C20 4 340274 332253 327472
C21 33554432 26168 23170 21395 36446 54715 55545 62289 60024 63052 54950 50978 47789 42281 41520 38398 33194 29537
    28294 27388 23152 19937 19353 21676 27448 37697 53604
C22 18 569168 358013 54125 18502 190 2
C23 15 437418 199943 190486 153815 18339
C24 1048576 54783 49655 91675 83941 87279 76351 76321 68203 68422 69283 64135 59154 47477 38026 27633 17652 10031 5323
    2687 1322 646
C25 105 254984 192854 215127 218798 92763 23749 1709 16
C26 524288 74396 32658 55258 74200 63240 62299 74017 77400 80392 81506 78637 70986 58824 44767 33132 22184 11312 3601
    949 242
"""
AVAZU = """
C1 7 919400 54600 25250 750
banner_pos 7 719350 278950 1489 211
site_id 16384 359100 162750 91550 72600 64850 74550 56128 40678 35306 22867 15393 3914 296 17 1
site_domain 32768 371900 162750 115200 76100 63700 71600 51383 34295 23230 16182 8422 3781 1263 188 6 1
site_category 26 406400 313400 260950 16100 3085 65
app_id 32768 640900 40800 48200 56250 60450 50050 38787 23037 15961 13777 6857 3249 1369 297 15 1
app_domain 559 676150 126700 77650 67700 44850 6071 767 74 13 21 4
app_category 36 649700 235250 76850 35961 2166 73 1
device_id 8388608 826200 596 770 696 322 215 212 285 476 895 1718 3085 4830 6385 7407 8337 10082 13556 18612 21861
    20412 18321 17438 17286
device_ip 33554432 4800 3000 4500 8200 14700 14288 11582 11893 14349 18031 22812 28899 36216 44173 52004 59389 66712
    74700 83585 91859 94824 85268 64284 43610 28255 18068
device_model 32768 60650 36600 54250 67950 91950 133050 123650 116000 104110 92181 65888 42876 10371 470 4 1
device_type 5 922950 54600 22450 1
device_conn_type 4 860950 82750 56300
C14 2626 24050 22200 40500 69150 103650 139750 151050 152950 148209 84663 47542 15072 1214
C15 8 935150 55600 9100 150
C16 9 944900 43250 10050 1788 12
C17 435 112750 40500 67300 89300 128800 161650 168600 140950 79233 10917
C18 4 419500 332150 248350
C19 68 303150 213400 120350 113150 117900 103350 28561 139
C20 172 470050 60900 87200 141400 115200 57700 52408 14447 695
C21 60 216150 125650 170050 196950 172900 92950 25350
"""
FIRST = {"I2": -2}  # the smallest value of an integer column, where it is not 0
MISSING = {  # columns that are missing together, and how often
    "I1 I10": 0.45087,
    "I3": 0.21337,
    "I4 I13": 0.21446,
    "I5": 0.02635,
    "I6": 0.22269,
    "I7 I9 I11": 0.04281,
    "I8": 0.00055,
    "I12": 0.76517,
    "C3 C4 C12 C16 C21 C24": 0.03445,
    "C6": 0.12181,
    "C19 C20 C25 C26": 0.44181,
    "C22": 0.76127,
}
CODES = {  # Avazu's columns that hold small numbers, most frequent first
    "C1": "1005 1002 1010 1012 1007 1001 1008",
    "banner_pos": "0 1 7 2 4 5 3",
    "device_type": "1 0 4 5 2",
    "device_conn_type": "0 2 3 5",
    "C15": "320 300 216 728 120 480 1024 768",
    "C16": "50 250 36 480 90 1024 20 320 768",
    "C18": "0 3 2 1",
}
RANGES = {"C14": (375, 9), "C17": (112, 6), "C19": (33, 27), "C20": (100000, 1), "C21": (13, 4)}  # smallest, step
DAYS = (2038, 2710, 1938, 1536, 1728, 1939, 1651, 2620, 1836, 2004)  # how busy 21 to 30 October 2014 are
HOURS = (
    *(399, 523, 604, 618, 880, 963, 891, 959, 1013, 1126, 1114, 1039),
    *(1110, 1174, 1146, 1045, 1027, 1012, 823, 613, 568, 512, 463, 378),
)
SLOPES = {"I5": (-10, 12), "I7": (20, 3), "I11": (30, 2)}  # weight per doubling of the value, and where it is 0


@dataclass(frozen=True)
class Format:
    """A file format and the planted model of its labels: logit = bias + (sum of the values' weights) / scale."""

    laws: str
    columns: str  # a row, as names of columns
    separator: str
    header: bool
    signal: frozenset[str]  # the columns that a label depends on
    bias: float
    scale: float


FORMATS = {
    "criteo": Format(
        CRITEO,
        " ".join(["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]),
        "\t",
        False,
        frozenset(("I5", "I7", "I11", "C2", "C6", "C8", "C14", "C17", "C23", "C7", "C13")),
        bias=-1.12347,
        scale=225,
    ),
    "avazu": Format(
        AVAZU,
        "id click hour C1 banner_pos site_id site_domain site_category app_id app_domain app_category device_id "
        "device_ip device_model device_type device_conn_type C14 C15 C16 C17 C18 C19 C20 C21",
        ",",
        True,
        frozenset(("site_id", "site_category", "app_id", "device_model", "C14", "C17", "C18", "C21", "banner_pos")),
        bias=-1.30343,
        scale=225,
    ),
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--format", choices=FORMATS, default="criteo")
    parser.add_argument("--gzip", action="store_true", help="compress, in many members of one .gz file")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8))
    args = parser.parse_args()
    if args.rows < 1:
        parser.error(f"--rows must be at least 1, got {args.rows}")
    if args.seed < 0:
        parser.error(f"--seed must not be negative, got {args.seed}")
    if args.processes < 1:
        parser.error(f"--processes must be at least 1, got {args.processes}")
    if args.out.is_dir():
        parser.error(f"--out is a folder: {args.out}")
    if not args.out.parent.is_dir():
        parser.error(f"--out: no folder {args.out.parent}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no partial file stays
    start = time.perf_counter()
    try:
        size = write(args.out, args.format, args.rows, args.seed, args.gzip, args.processes)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: error: cannot write {args.out}: {error.strerror or error}\n")
    except BrokenProcessPool:
        parser.exit(1, f"{parser.prog}: error: a process was killed (out of memory?); try fewer --processes\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted; nothing written\n")
    print(f"{args.out}: {args.rows:,} rows, {size:,} bytes, {time.perf_counter() - start:.1f} s")


def write(out: Path, name: str, rows: int, seed: int, compress: bool, processes: int) -> int:
    """Write the file, whole or not at all; its size."""
    form = FORMATS[name]
    new = out.with_name(f".{out.name}.{os.getpid()}")
    bar = tqdm(total=rows, desc=out.name, unit="row", unit_scale=True, disable=None)
    try:
        with new.open("wb") as file, bar:
            if form.header:
                header = (form.columns.replace(" ", form.separator) + "\n").encode()
                file.write(gzip.compress(header, mtime=0) if compress else header)
            for number, text in enumerate(texts(name, rows, seed, compress, processes)):
                file.write(text)
                bar.update(min(CHUNK, rows - number * CHUNK))
        size = new.stat().st_size
        new.replace(out)
    finally:
        new.unlink(missing_ok=True)
    return size


def texts(name: str, rows: int, seed: int, compress: bool, processes: int) -> Iterator[bytes]:
    """The chunks in order; at most two a process are made ahead of the writer."""
    numbers = range(-(-rows // CHUNK))
    columns(name)  # before the processes start: they share it where they are forks
    if processes == 1:
        for number in numbers:
            yield chunk(name, rows, seed, compress, number)
        return
    with ProcessPoolExecutor(processes, initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        waiting: deque[Future[bytes]] = deque()
        for number in numbers:
            waiting.append(pool.submit(chunk, name, rows, seed, compress, number))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def chunk(name: str, rows: int, seed: int, compress: bool, number: int) -> bytes:
    """The text of one chunk. Its random numbers are one stream, [draws, CHUNK] whatever part of the chunk is kept."""
    start = number * CHUNK
    count = min(CHUNK, rows - start)
    draws = len(columns(name)) + len(MISSING) + 1
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(number,))).random_raw(draws * CHUNK // 2)
    random = stream.astype("<u8", copy=False).view("<u4").reshape(draws, CHUNK)
    blocks = [random[:, at : min(at + BLOCK, count)] for at in range(0, count, BLOCK)]
    text = b"".join(block(name, rows, seed, start + at * BLOCK, part) for at, part in enumerate(blocks))
    return gzip.compress(text, 3, mtime=0) if compress else text


def block(name: str, rows: int, seed: int, start: int, random: np.ndarray) -> bytes:
    """The text of a few rows from row ``start`` on: slots of fixed width, less the NULs that fill them."""
    form, laws, (slots, matrix) = FORMATS[name], columns(name), layout(name)
    count = random.shape[1]
    score = np.zeros(count, np.int64)
    missing: dict[str, np.ndarray] = {}
    if name == "criteo":
        for (together, rate), draw in zip(MISSING.items(), random[len(laws) :], strict=False):
            missing |= dict.fromkeys(together.split(), draw < round(rate * 2**32))

    def put(column: str, *text: np.ndarray) -> None:
        at = slots[column]
        for part in text:
            np.ndarray(count, part.dtype, matrix, at, matrix.strides[:1])[:] = part
            at += part.itemsize

    for (column, law), draw in zip(laws.items(), random, strict=False):
        rank = law.rank(draw)
        text, weight = law.text(rank), law.weight(rank) if column in form.signal else 0
        if column in missing:
            for part in text:
                part[missing[column]] = 0
            weight = np.where(missing[column], 0, weight)
        score += weight
        put(column, *text)

    click = (random[-1] >> 8) < chances(name)[score + len(chances(name)) // 2]
    if name == "criteo":
        put("label", click + np.uint8(ord("0")))
    else:
        put("click", click + np.uint8(ord("0")))
        row = np.arange(start, start + count, dtype=np.uint64)
        put("id", *decimal(mix64(row + np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))))
        hour = np.searchsorted(hour_ends(rows), row.astype(np.int64), side="right")
        put("hour", hour_texts()[hour])
    return matrix[:count].tobytes().translate(None, b"\0")


@dataclass(frozen=True)
class Law:
    """How to draw a column: a value's rank (0 is the most frequent, or the smallest integer) and its text by rank."""

    bounds: np.ndarray  # ranks at the quantiles 0, 1/65536, ..., 1; linear in between
    key: np.uint32  # where the column's codes start
    texts: np.ndarray | None  # NUL-filled text as one integer, by rank; None: eight hexadecimal digits
    weights: np.ndarray | None  # part in the label's score, by rank; None: random, -128 to 127

    def rank(self, draw: np.ndarray) -> np.ndarray:
        """The rank at the quantile draw / 2^32."""
        at = (draw >> 16).astype(np.intp)
        low, high = self.bounds[at], self.bounds[at + 1]
        return (low + (high - low) * ((draw & 0xFFFF) / 65536)).astype(np.uint32)

    def text(self, rank: np.ndarray) -> list[np.ndarray]:
        if self.texts is not None:
            return [self.texts[rank]]
        code = mix(rank + self.key)
        return [hexadecimal()[code >> 16], hexadecimal()[code & 0xFFFF]]

    def weight(self, rank: np.ndarray) -> np.ndarray:
        if self.weights is not None:
            return self.weights[rank]
        return (mix(rank + self.key) >> 24).astype(np.int64) - 128


@functools.cache
def columns(name: str) -> dict[str, Law]:
    """The laws of the columns that are drawn, in the file's order."""
    laws = {}
    for number, law in enumerate(re.split(r"\s+(?=[a-zA-Z])", FORMATS[name].laws.strip())):
        column, size, *shares = law.split()
        key = np.uint32((number + 1) * 0x9E3779B9 % 2**32)
        texts = weights = None
        if name == "criteo" and column[0] == "I":
            texts = words(np.arange(int(size)) + FIRST.get(column, 0))
            if column in SLOPES:
                slope, middle = SLOPES[column]
                weights = slope * (np.frexp(np.arange(int(size)) + 1)[1].astype(np.int64) - middle)
        elif name == "avazu" and column in CODES:
            texts = words(np.array(CODES[column].split()[: int(size)]))
        elif name == "avazu" and column in RANGES:
            first, step = RANGES[column]
            texts = words(first + step * (np.arange(int(size)) * 1009 % int(size)))
            if column == "C20":
                texts[0] = words(np.array(["-1"]))[0]
        laws[column] = Law(bounds(int(size), [int(share) for share in shares]), key, texts, weights)
    return laws


def bounds(size: int, shares: list[int]) -> np.ndarray:
    """Ranks at the quantiles 0, 1/65536, ..., 1: within an octave of ranks [lo, hi) the quantile q is lo (hi/lo)^q."""
    edges = np.array([0, *(min(1 << k, size) for k in range(len(shares)))], np.float64)
    cumulative = np.cumsum([0, *shares])
    place = np.arange(65537) / 65536 * cumulative[-1]
    octave = np.clip(np.searchsorted(cumulative, place, side="right") - 1, 0, len(shares) - 1)
    q = (place - cumulative[octave]) / np.diff(cumulative)[octave]
    low, high = edges[octave], edges[octave + 1]
    rank = np.where(octave == 0, q, np.maximum(low, 1) * (high / np.maximum(low, 1)) ** q)
    rank = np.where(rank < 1024, np.rint(rank * 65536) / 65536, np.rint(rank))  # the same wherever pow rounds otherwise
    rank[-1] = size
    return rank


def words(values: np.ndarray) -> np.ndarray:
    """Text of at most four or eight characters, filled with NULs, as integers."""
    text = values.astype("S")
    width = 4 if np.char.str_len(text).max() <= 4 else 8
    return text.astype(f"S{width}").view(f"<u{width}")


@functools.cache
def hexadecimal() -> np.ndarray:
    """The text of 0000 to ffff."""
    return words(np.array([f"{i:04x}" for i in range(65536)]))


@functools.cache
def decimals() -> tuple[np.ndarray, np.ndarray]:
    """The text of 0 to 9999, with and without leading zeros; 0 has none without."""
    padded, short = words(np.array([f"{i:04}" for i in range(10000)])), words(np.arange(10000))
    short[0] = 0
    return padded, short


def decimal(values: np.ndarray) -> list[np.ndarray]:
    """The text of unsigned 64-bit integers above 0, four digits at a time."""
    padded, short = decimals()
    begun = np.zeros(len(values), bool)
    text = []
    for power in (16, 12, 8, 4, 0):
        group = (values // np.uint64(10**power) % np.uint64(10000)).astype(np.intp)
        text.append(np.where(begun, padded[group], short[group]))
        begun |= group > 0
    return text


def mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 32-bit integers that looks random (MurmurHash3's last step)."""
    x = x ^ (x >> np.uint32(16))
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def mix64(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit integers that looks random (SplitMix64's last step)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@functools.cache
def chances(name: str) -> np.ndarray:
    """The click probability in 2^-24, by score; score 0 is in the middle."""
    form = FORMATS[name]
    scores = range(-2048, 2048)
    return np.array([round(2**24 / (1 + math.exp(-form.bias - s / form.scale))) for s in scores], np.uint32)


@functools.cache
def hour_ends(rows: int) -> np.ndarray:
    """The row after the last of each of the 240 hours."""
    busy = np.cumsum([day * hour for day in DAYS for hour in HOURS]).tolist()
    return np.array([rows * so_far // busy[-1] for so_far in busy])


@functools.cache
def hour_texts() -> np.ndarray:
    return words(np.array([f"1410{day}{hour:02}" for day in range(21, 31) for hour in range(24)]))


@functools.cache
def layout(name: str) -> tuple[dict[str, int], np.ndarray]:
    """Where each column's slot starts, and BLOCK rows of bytes with only the separators in them."""
    form, slots, at, separators = FORMATS[name], {}, 0, {}
    widths = {"label": 1, "click": 1, "hour": 8, "id": 20}
    for column in form.columns.split():
        slots[column] = at
        texts = columns(name)[column].texts if column in columns(name) else None
        at += widths.get(column, 8 if texts is None else texts.itemsize)
        separators[at] = form.separator
        at += 1
    separators[at - 1] = "\n"
    matrix = np.zeros((BLOCK, at), np.uint8)
    for place, character in separators.items():
        matrix[:, place] = ord(character)
    return slots, matrix


if __name__ == "__main__":
    main()
