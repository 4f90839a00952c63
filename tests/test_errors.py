import ast
import difflib
from pathlib import Path

import pytest

import eulernet
from eulernet.errors import UserError, choose, require_known, require_there

PACKAGE = Path(eulernet.__file__).parent


def test_the_nearest_name_is_looked_for_only_when_a_name_is_wrong(monkeypatch):
    known = {f"column_{i}": i for i in range(1500)}
    with pytest.raises(UserError, match=r"^no column 'colum_7'; did you mean 'column_7'\?$"):
        require_known("colum_7", known, "no column 'colum_7'")
    monkeypatch.setattr(difflib, "get_close_matches", None)
    for name in known:
        require_known(name, known, "")
        assert choose(known, name, "column") == known[name]


@pytest.mark.parametrize(
    ("there", "said"),
    [
        (["user_id", "age"], "rows: no column 'item_id'; the columns are user_id, age"),  # which is wanted itself
        (["user_id", "itemid"], "rows: no column 'item_id'; did you mean 'itemid'?"),
        ([], "rows: no column 'user_id'; the columns are "),
    ],
)
def test_a_column_that_is_not_there_is_none_of_those_that_are_wanted(there, said):
    with pytest.raises(UserError) as refused:
        require_there(["user_id", "item_id"], there, "rows")
    assert str(refused.value) == said


def test_no_call_of_require_builds_a_costly_message():
    found = [
        f"{file.relative_to(PACKAGE)}:{call.lineno}"
        for file in PACKAGE.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "require"
        for part in (part for argument in call.args[1:] for part in ast.walk(argument))
        if isinstance(part, ast.Call) and getattr(part.func, "id", "") == "nearest"
    ]
    assert found == []
