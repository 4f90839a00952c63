"""How a program ends: its exit code, and what it says when it is stopped or nobody reads it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import logging, time
from eulernet.cli import command

@command("export")
def main(cfg):
    logging.getLogger("x").info("a line")
    {work}

main()
"""
READY = 'print("ready", flush=True)'


def start(work, stdout=subprocess.PIPE, *args, **env):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(work=work), *args],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **env}, stdout=stdout, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [[], ["--cfg", "job"]], ids=["log", "Hydra"])
def test_a_program_whose_output_nobody_reads_ends_in_silence(unbuffered, args):
    reader, writer = os.pipe()
    os.close(reader)
    process = start('print("more")', writer, *args, PYTHONUNBUFFERED=unbuffered)
    os.close(writer)
    assert process.communicate()[1] == ""
    assert process.returncode == 141


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_one_line(unbuffered):
    with Path("/dev/full").open("w") as full:
        err = start("pass", full, PYTHONUNBUFFERED=unbuffered).communicate()[1]
    assert err.startswith("error: ")
    assert "No space left on device" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("stops", [[signal.SIGINT] * 2, [signal.SIGTERM, signal.SIGINT], [signal.SIGINT] * 9])
def test_two_stops_at_once_are_one(stops):
    process = start(f"""{READY}
    try:
        time.sleep(600)
    finally:
        print("cleaned up", flush=True)""")
    for _ in range(2):
        line = process.stdout.readline()
    assert line == "ready\n"
    for stop in stops:
        process.send_signal(stop)
    _, err = process.communicate()
    assert err == ""
    assert process.returncode == 130


def test_a_closed_standard_output_is_no_error():
    process = start("import sys; sys.stdout = None")
    assert process.communicate() == ("a line\n", "")
    assert process.returncode == 0
