"""The defaults: the XDG directories, what lies in them, the name of the user; and the settings as JSON."""

import json
import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artfs.config import config_from_json, config_to_json, load_config
from artfs.errors import InvalidInputError
from artfs.model.names import parse_entity
from artfs.registry.sql.registry import open_registry
from artfs.storage.files import open_store


def test_everything_has_a_default(home):
    config = load_config()
    assert config.data_dir == home / ".local/share/artfs"
    assert config.cache_dir == home / ".cache/artfs"
    assert config.state_dir == home / ".local/state/artfs"
    assert config.runtime_dir == home / ".local/state/artfs/run"
    assert config.registry == f"sqlite:///{home}/.local/share/artfs/registry.sqlite"
    assert config.store == f"file://{home}/.local/share/artfs/store"
    assert config.entity == pwd.getpwuid(os.geteuid()).pw_name
    assert (config.metadata_ttl, config.threads) == (1.0, len(os.sched_getaffinity(0)))
    assert (config.algorithm, config.log_level, config.reference_roots) == ("MD5", "info", ())


def test_the_xdg_variables_move_the_directories(tmp_path, monkeypatch):
    for name in ("DATA_HOME", "CACHE_HOME", "STATE_HOME", "CONFIG_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name))
    (tmp_path / "CONFIG_HOME/artfs").mkdir(parents=True)
    (tmp_path / "CONFIG_HOME/artfs/config.toml").write_text('entity = "found"')
    config = load_config()
    assert config.data_dir == tmp_path / "DATA_HOME/artfs"
    assert config.cache_dir == tmp_path / "CACHE_HOME/artfs"
    assert config.state_dir == tmp_path / "STATE_HOME/artfs"
    assert config.runtime_dir == tmp_path / "RUNTIME_DIR/artfs"
    assert config.registry == f"sqlite:///{tmp_path}/DATA_HOME/artfs/registry.sqlite"
    assert config.entity == "found"


def test_registry_store_and_sockets_follow_the_directories_they_lie_in():
    config = load_config({"data_dir": "/d", "state_dir": "/s"})
    assert (config.registry, config.store) == ("sqlite:////d/registry.sqlite", "file:///d/store")
    assert config.runtime_dir == Path("/s/run")


def test_loading_settings_makes_nothing(home):
    load_config()
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", ["a b", "ü", "100%", "a%20b", "what?", "a#b", "\udcff"])
def test_registry_and_store_lie_in_the_data_directory_whatever_its_name(tmp_path, name):
    config = load_config({"data_dir": tmp_path / name})
    open_registry(config.registry, config.entity).close()
    open_store(config.store)
    assert sorted(os.listdir(tmp_path / name)) == ["registry.sqlite", "store"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["home", name])
    assert unquote(urlsplit(config.store).path, errors="surrogateescape") == f"{tmp_path}/{name}/store"


# The name of the user -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entity"),
    [
        ("ann", "ann"),
        ("ann.b-c_d1", "ann.b-c_d1"),
        ("DOMAIN\\ann", "DOMAIN-ann"),
        ("ann@example.org", "ann-example.org"),
        ("machine$", "machine-"),
        ("müller", "müller"),
        ("a b", "a-b"),
        (".hidden", "hidden"),
        ("..", "user"),
        ("", "user"),
        ("half\udcff", "half-"),
        ("x" * 200, "x" * 60),
        ("\U00020000" * 100, "\U00020000" * 60),
    ],
)
def test_the_default_entity_is_the_user_with_a_name_that_a_directory_can_have(monkeypatch, name, entity):
    monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name=name))
    assert load_config().entity == entity


def test_a_user_without_a_name_is_called_user(monkeypatch):
    def fail(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", fail)
    assert load_config().entity == "user"


@given(name=st.text(st.characters(exclude_characters="\0:\n"), max_size=300))
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_the_default_entity_is_a_valid_name_whatever_the_user_is_called(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name=name))
        assert parse_entity(load_config().entity)


# As JSON, for the mount process ---------------------------------------------------------------------------------


def test_settings_survive_the_way_to_another_process_that_has_others(monkeypatch, tmp_path, write_file):
    chosen = {
        "registry": "sqlite:////r",
        "store": "/s",
        "entity": "ü b",
        "data_dir": "/d\udcff",
        "metadata_ttl": 0.25,
        "threads": 3,
        "algorithm": "XXH128",
        "log_level": "debug",
        "reference_roots": ["/a:b", "relative"],
    }
    for config in (load_config(), load_config(chosen)):
        text = json.dumps(config_to_json(config))
        with monkeypatch.context() as patch:
            patch.chdir("/")
            patch.setenv("HOME", "/elsewhere")
            patch.setenv("ARTFS_THREADS", "9")
            patch.setenv("XDG_RUNTIME_DIR", "/run/elsewhere")
            assert config_from_json(json.loads(text)) == config


def test_json_that_names_an_unknown_or_bad_setting_is_refused():
    values = config_to_json(load_config())
    with pytest.raises(InvalidInputError, match="colour: there is no such setting"):
        config_from_json({**values, "colour": "red"})
    with pytest.raises(InvalidInputError, match="threads: 'many' is not a number"):
        config_from_json({**values, "threads": "many"})
