"""The password of a shared database is used, and neither stored nor said."""

import optuna
import pytest

from eulernet.campaigns import tuning
from eulernet.campaigns.storage import masked, scrubbed, with_quoted_password
from eulernet.campaigns.study import open_study
from eulernet.campaigns.tuning import require_same_storage, write_config
from eulernet.errors import UserError
from eulernet.settings import dump_config, read_config

PASSWORDS = ("pass", "pa@ss", "pa:ss", "pa?ss", "pa/ss", "pa%40ss", "p@@/:?#&=")


@pytest.mark.parametrize("password", PASSWORDS)
def test_passwords_are_masked_whole(password):
    assert masked(f"postgresql://me:{password}@host:5432/tuning") == "postgresql://me:***@host:5432/tuning"
    assert masked(f"mysql+pymysql://:{password}@host/tuning") == "mysql+pymysql://:***@host/tuning"


def test_what_is_no_password_is_shown():
    for url in ("sqlite:////tmp/study.db", "postgresql://me@host/tuning", "postgresql://host:5432/tuning?x=1"):
        assert masked(url) == url
    assert masked("postgresql://host/db?user=me&password=pass&sslmode=require").endswith(
        "&password=***&sslmode=require"
    )


@pytest.mark.parametrize("password", ["pass", "pa@ss", "pa?ss", "pa#ss", "pa/ss", "p:a"])
def test_the_database_gets_the_password_as_it_was_meant(password):
    from sqlalchemy.engine import make_url

    url = make_url(with_quoted_password(f"postgresql://me:{password}@host:5432/tuning"))
    assert (url.username, url.password, url.host, url.port, url.database) == ("me", password, "host", 5432, "tuning")


def test_what_a_driver_says_has_no_part_of_a_password():
    said = scrubbed('no host "word@host"; tried pass%40word, pass@word', "postgresql://u:pass@word@host/db")
    assert said == 'no host "***@host"; tried ***, ***'


def test_no_message_has_the_password(tmp_path):
    with pytest.raises(UserError, match=r"storage=nonsense://u:\*\*\*@host/db: cannot be used") as refused:
        open_study(tmp_path, "nonsense://u:pa@ss@host/db", "it", "digest", optuna.pruners.NopPruner())
    assert "pa" not in str(refused.value).replace("password", "")


@pytest.fixture
def shared():
    url = "postgresql://u:pa@ss@host/db"
    chosen = {"dataset": "synthetic", "model": "lr", "overrides": ["model=lr", f"storage={url}"]}
    return {"seed": 1, "storage": url, "chosen": chosen}


def test_no_file_has_the_password_and_only_its_owner_reads_them(shared, tmp_path):
    write_config(tmp_path, shared)
    file = tmp_path / tuning.CONFIG
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ss" not in file.read_text()
    assert read_config(file)["storage"] == "postgresql://u:***@host/db"
    assert [path.name for path in tmp_path.iterdir()] == [tuning.CONFIG]


def test_who_goes_on_gives_the_password_once_more(shared, tmp_path):
    write_config(tmp_path, shared)
    require_same_storage(tmp_path, "postgresql://u:another@host/db")
    with pytest.raises(UserError, match=r"the password of postgresql.*is not kept: give storage= once more"):
        require_same_storage(tmp_path, "postgresql://u:***@host/db")
    with pytest.raises(UserError, match="has its study in postgresql"):
        require_same_storage(tmp_path, "postgresql://u:pa@elsewhere/db")


def test_a_password_that_an_older_version_stored_is_removed(shared, tmp_path):
    (tmp_path / tuning.CONFIG).write_text(dump_config(shared))
    require_same_storage(tmp_path, shared["storage"])
    assert "pa" not in (tmp_path / tuning.CONFIG).read_text().replace("password", "")
    assert (tmp_path / tuning.CONFIG).stat().st_mode & 0o777 == 0o600
