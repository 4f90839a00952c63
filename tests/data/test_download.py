"""Downloads, from a server and a package index on this machine."""

import hashlib
import http.server
import threading
import zipfile
from functools import partial

import pytest

from eulernet.data.download import Archive, Wheel, fetch
from eulernet.errors import UserError


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that is served over HTTP, and its address."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def pack(file, members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def zipped(site):
    folder, address = site
    checksum = pack(folder / "ml.zip", {"ml/u.data": "1\t2\n", "ml/u.user": "x", "ml/readme": "not wanted"})
    return Archive(f"{address}/ml.zip", f"sha256:{checksum}", ("ml/u.data", "ml/u.user"), "GroupLens")


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A source whose package index is a folder."""
    index = tmp_path / "index"
    index.mkdir()
    members = {"toy/data/u.data": "1\t2\n", "toy/data/u.user": "x", "toy/__init__.py": "raise SystemExit('executed')"}
    metadata = {
        "toy-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n",
        "toy-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "toy-1.0.dist-info/RECORD": "",
    }
    checksum = pack(index / "toy-1.0-py3-none-any.whl", members | metadata)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return Wheel("toy==1.0", checksum, ("toy/data/u.data", "toy/data/u.user"))


@pytest.mark.parametrize("source", ["zipped", "wheel"])
def test_a_source_fills_the_folder_once(tmp_path, request, source):
    source, folder = request.getfixturevalue(source), tmp_path / "raw" / "ml"
    assert fetch([source], folder) == source.name
    assert {file.name: file.read_text() for file in folder.iterdir()} == {
        "u.data": "1\t2\n",
        "u.user": "x",
        "SOURCE": source.name + "\n",
    }
    gone = Archive("http://127.0.0.1:9/ml.zip", "sha256:00", (), "gone")
    assert fetch([gone], folder) == source.name  # it is there: nobody is asked


def test_the_second_source_is_asked_when_the_first_does_not_answer(tmp_path, wheel):
    gone = Archive("http://127.0.0.1:9/ml.zip", "sha256:00", (), "gone")
    assert fetch([gone, wheel], tmp_path / "ml") == "PyPI wheel toy==1.0"


def test_a_wrong_checksum_is_refused_and_nothing_kept(tmp_path, zipped, wheel):
    wrong = Archive(zipped.url, "sha256:" + "0" * 64, zipped.members, "wrong")
    with pytest.raises(UserError, match="does not have the published checksum"):
        fetch([wrong], tmp_path / "raw" / "ml")
    with pytest.raises(UserError, match=r"PyPI wheel toy==1.0 does not have the published checksum"):
        fetch([Wheel(wheel.requirement, "0" * 64, wheel.members)], tmp_path / "raw" / "ml")
    assert not (tmp_path / "raw").exists()


def test_every_reason_is_told_when_no_source_answers(tmp_path, site, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    sources = [Archive(f"{site[1]}/missing.zip", "sha256:00", (), "gone"), Wheel("no-such-toy==1.0", "00", ())]
    with pytest.raises(UserError) as refused:
        fetch(sources, tmp_path / "ml")
    message = str(refused.value)
    assert "missing.zip (404" in message
    assert "PyPI wheel no-such-toy==1.0 (No matching distribution found" in message
    assert message.endswith("raw=PATH")
    assert "\n" not in message


def test_rows_that_are_not_the_published_ones_are_refused_and_nothing_kept(tmp_path, zipped):
    def check(folder):
        assert (folder / "u.data").is_file()
        raise UserError("not the published rows")

    with pytest.raises(UserError, match="not the published rows"):
        fetch([zipped], tmp_path / "raw" / "ml", check)
    assert not (tmp_path / "raw").exists()
