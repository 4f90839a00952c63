"""benchmarks/kills.py finds what a kill breaks, and finds nothing where nothing breaks."""

import importlib.util
import random
import sys

import forking
import pytest
from conftest import REPOSITORY

WHOLE = "import os, time; open('.new', 'w').write('ab'); time.sleep(.2); os.replace('.new', 'out')"
TORN = "import time; f = open('out', 'w', 1); f.write('a\\n'); time.sleep(.2); f.write('b')"
LEFT = "open('.left', 'w'); open('out', 'w').write('ab')"


@pytest.fixture(scope="module")
def kills():
    spec = importlib.util.spec_from_file_location("kills", REPOSITORY / "benchmarks" / "kills.py")
    module = sys.modules["kills"] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("code", "fault"), [(WHOLE, None), (TORN, "half of it is there"), (LEFT, "left behind")])
def test_a_kill_is_told_by_what_it_breaks(kills, tmp_path, code, fault):
    command = kills.Command([], kills.digests("out"), whole=True, program=[forking.PYTHON, "-ISc", code])
    said, faults = kills.kill("toy", command, tmp_path / "work", tmp_path, 16, random.Random(0))
    assert "came to the end" in said
    assert bool(faults) == bool(fault), faults
    assert not fault or any(fault in found for found in faults)
