from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from eulernet.errors import UserError
from eulernet.settings import construct, dump_config, read_config

KINDS = {
    bool: bool, int: int, float: float, str: str, int | None: int | None, float | None: float | None,
    str | None: str | None, Sequence[int]: list[int], Sequence[float]: list[float], Sequence[str]: list[str],
    Mapping[str, float]: dict[str, float], Sequence[Mapping[str, float]]: list[dict[str, float]],
}  # fmt: skip
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("0123456789eE+-._ xyonf"),
    st.sampled_from(["yes", "OFF", "True", "1", "1e-3", "inf", " 5 ", "1_000", "0x10"]),
)  # fmt: skip
VALUES = st.recursive(PLAIN, lambda one: st.lists(one) | st.dictionaries(st.text("abc", min_size=1), one), max_leaves=5)


@example(bool, "0")
@example(bool, " 2")
@given(st.sampled_from(list(KINDS)), VALUES)
def test_values_are_converted_as_omegaconf_does(hint, value):
    class Taken:
        def __init__(self, key: hint) -> None:
            self.key = key

    schema = OmegaConf.structured(make_dataclass("Settings", [("key", KINDS[hint])]))
    try:
        schema.key = value
    except OmegaConfBaseException:
        with pytest.raises(UserError, match=r"^model\.key=[^\n]*: should be of type "):
            construct(Taken, {"key": value}, "model")
    else:
        want, got = OmegaConf.to_container(schema)["key"], construct(Taken, {"key": value}, "model").key
        assert (got, type(got)) == (want, type(want))


def take(fields: Mapping[str, Any] | None, only: Sequence[str] | None = None) -> Any:
    return fields, only


def test_a_column_may_be_called_by_a_number_or_a_word_of_yaml():
    given = {"fields": {7: "log_square", True: "number", "x": {"kind": "bag"}}, "only": [1, "x"]}
    fields = {"7": "log_square", "true": "number", "x": {"kind": "bag"}}
    assert construct(take, given, "dataset") == (fields, ["1", "x"])
    with pytest.raises(UserError, match="should be of type dict"):
        construct(take, {"fields": {1: "bag", "1": "number"}, "only": None}, "dataset")


@settings(max_examples=50)
@given(st.dictionaries(st.text(), VALUES))
def test_a_saved_configuration_is_read_as_it_was_written(cfg):
    file = Path("saved.yaml")
    assert read_config_text(file, dump_config(cfg)) == cfg


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("settings"))


def read_config_text(file, text):
    file.write_text(text, encoding="utf-8")
    return read_config(file)


def test_a_saved_configuration_shares_no_part_of_itself():
    shared = [1, 2]
    assert "&" not in dump_config({"a": shared, "b": shared})


def test_saved_configurations_are_plain_values_that_are_never_resolved(monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    assert read_config_text(Path("c.yaml"), "a: ${oc.env:SECRET}\n") == {"a": "${oc.env:SECRET}"}


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "it has aliases"),
        ("a: " + "x" * (1 << 20), "at most 1 MiB"),
        ("a: " + "[" * 5000 + "]" * 5000, "cannot be read"),
        ("[1, 2]", "should hold names and values"),
        ("{", "cannot be read"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read"),
    ],
)
def test_a_configuration_that_is_none_is_one_line(text, message):
    with pytest.raises(UserError, match=rf"^c\.yaml[^\n]*{message}[^\n]*$"):
        read_config_text(Path("c.yaml"), text)
