"""Where a setting comes from: flag > ``ARTFS_*`` > ``config.toml`` > default, for every setting alike."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from artfs.config import Config, load_config
from artfs.errors import InvalidInputError

# For each setting three texts for file, variable and flag, and the values that they mean.
SETTINGS = {
    "registry": (["sqlite:////a", "sqlite:////b", "sqlite:////c"], ["sqlite:////a", "sqlite:////b", "sqlite:////c"]),
    "store": (["file:///a", "/b", "file:///c"], ["file:///a", "/b", "file:///c"]),
    "entity": (["ann", "ben", "cleo"], ["ann", "ben", "cleo"]),
    "data_dir": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "cache_dir": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "state_dir": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "runtime_dir": (["/a", "/b", "/c"], [Path("/a"), Path("/b"), Path("/c")]),
    "metadata_ttl": (["0", "2.5", "86400"], [0.0, 2.5, 86400.0]),
    "threads": (["1", "3", "1024"], [1, 3, 1024]),
    "algorithm": (["xxh128", "MD5", "XXH128"], ["XXH128", "MD5", "XXH128"]),
    "log_level": (["debug", "WARNING", "error"], ["debug", "warning", "error"]),
    "reference_roots": (["/a", "/b:/c", ":/d:"], [(Path("/a"),), (Path("/b"), Path("/c")), (Path("/d"),)]),
    "cache_size": (["1000", "1.5K", "2GiB"], [1000, 1536, 2 << 30]),
    "cache_free": (["0", "10m", "1 TB"], [0, 10 << 20, 1 << 40]),
    "verify": (["strict", "LAZY", "strict"], ["strict", "lazy", "strict"]),
    "metadata_addresses": (["yes", "off", "true"], [True, False, True]),
    "retry_seconds": (["5", "1", "0.5e2"], [5.0, 1.0, 50.0]),
    "metrics_port": (["9100", "1", "65535"], [9100, 1, 65535]),
    "offline": (["yes", "off", "true"], [True, False, True]),
}


def test_every_setting_is_tested():
    assert set(SETTINGS) == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(name, write_file, monkeypatch):
    (in_file, in_environment, in_flag), values = SETTINGS[name]
    default = getattr(load_config(), name)
    assert default not in values[:1]
    write_file(f'{name} = "{in_file}"')
    assert getattr(load_config(), name) == values[0]
    monkeypatch.setenv(f"ARTFS_{name.upper()}", in_environment)
    assert getattr(load_config(), name) == values[1]
    assert getattr(load_config({name: None}), name) == values[1]
    assert getattr(load_config({name: in_flag}), name) == values[2]
    monkeypatch.delenv(f"ARTFS_{name.upper()}")
    assert getattr(load_config({name: in_flag}), name) == values[2]
    write_file("")
    assert getattr(load_config({name: in_flag}), name) == values[2]
    assert getattr(load_config(), name) == default


@pytest.mark.parametrize("name", SETTINGS)
def test_an_empty_variable_is_no_variable(name, monkeypatch):
    before = load_config()
    monkeypatch.setenv(f"ARTFS_{name.upper()}", "")
    assert load_config() == before


def test_the_file_may_hold_numbers_and_lists(write_file):
    write_file('metadata_ttl = 3\nthreads = 2.0\nreference_roots = ["/a:b", "/c"]\n')
    config = load_config()
    assert (config.metadata_ttl, config.threads) == (3.0, 2)
    assert (type(config.metadata_ttl), type(config.threads)) == (float, int)
    assert config.reference_roots == (Path("/a:b"), Path("/c"))


def test_a_flag_may_be_a_value_of_its_type():
    config = load_config({"data_dir": Path("/d"), "reference_roots": [Path("/a"), "/b"], "threads": 7})
    assert (config.data_dir, config.reference_roots, config.threads) == (Path("/d"), (Path("/a"), Path("/b")), 7)


def test_paths_are_absolute_and_know_the_home_directory(home, write_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_file('data_dir = "~/data"\ncache_dir = "relative/cache"\nreference_roots = ["~/shared", "here"]')
    config = load_config({"state_dir": Path("~/state")})
    assert config.data_dir == home / "data"
    assert config.state_dir == home / "state"
    assert config.cache_dir == tmp_path / "relative/cache"
    assert config.reference_roots == (home / "shared", tmp_path / "here")


def test_another_file_can_be_named(tmp_path, write_file, monkeypatch):
    write_file('entity = "usual"')
    other = tmp_path / "other.toml"
    other.write_text('entity = "other"')
    monkeypatch.setenv("ARTFS_CONFIG", str(other))
    assert load_config().entity == "other"
    monkeypatch.setenv("ARTFS_CONFIG", "")
    assert load_config().entity == "usual"


def test_a_named_file_that_is_missing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTFS_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(InvalidInputError, match=r"ARTFS_CONFIG names .*missing\.toml, which does not exist"):
        load_config()


@pytest.mark.parametrize("content", [b"entity = ", b"entity = 'a'\nentity = 'b'", b"\xff\xfe"])
def test_a_file_that_is_not_toml_is_named(write_file, content):
    path = write_file("")
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        load_config()
    assert f"{path} cannot be read" in caught.value.message


def test_a_file_that_cannot_be_read_is_named(home):
    path = home / ".config" / "artfs" / "config.toml"
    path.mkdir(parents=True)
    with pytest.raises(InvalidInputError) as caught:
        load_config()
    assert f"{path} cannot be read" in caught.value.message


# What is wrong, and where it is ---------------------------------------------------------------------------------

BAD = [
    ("registry", 5),
    ("store", []),
    ("entity", "a/b"),
    ("entity", ".hidden"),
    ("entity", "x" * 200),
    ("entity", 5),
    ("data_dir", 5),
    ("data_dir", "~no-such-user-here/data"),
    ("metadata_ttl", "soon"),
    ("metadata_ttl", -1),
    ("metadata_ttl", 86401),
    ("metadata_ttl", "nan"),
    ("metadata_ttl", "inf"),
    ("metadata_ttl", True),
    ("metadata_ttl", []),
    ("threads", 0),
    ("threads", 1025),
    ("threads", "many"),
    ("threads", 1.5),
    ("threads", "2.7"),
    ("threads", True),
    ("threads", int("9" * 400)),
    ("algorithm", "sha256"),
    ("algorithm", "blake3"),
    ("log_level", "loud"),
    ("log_level", 10),
    ("reference_roots", 5),
    ("reference_roots", ["/a", 5]),
    ("reference_roots", ["~no-such-user-here/data"]),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_in_the_file_is_named_with_its_place(name, value, write_file):
    path = write_file(f"{name} = {json.dumps(value)}")
    with pytest.raises(InvalidInputError) as caught:
        load_config()
    assert caught.value.message.startswith(f"{path}: {name}: ")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, value in BAD if isinstance(value, str)])
def test_a_bad_variable_is_named(name, value, monkeypatch):
    monkeypatch.setenv(f"ARTFS_{name.upper()}", value)
    with pytest.raises(InvalidInputError) as caught:
        load_config()
    assert caught.value.message.startswith(f"ARTFS_{name.upper()}: ")
    assert value[:20] in caught.value.message


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_flag_is_named(name, value):
    with pytest.raises(InvalidInputError) as caught:
        load_config({name: value})
    assert caught.value.message.startswith(f"--{name.replace('_', '-')}: ")


def test_a_message_says_what_could_be_chosen():
    with pytest.raises(InvalidInputError, match="choose one of MD5, XXH128"):
        load_config({"algorithm": "sha1"})
    with pytest.raises(InvalidInputError, match="choose one of debug, info, warning, error"):
        load_config({"log_level": "loud"})
    with pytest.raises(InvalidInputError, match="'9999' is not between 1 and 1024"):
        load_config({"threads": "9999"})


@pytest.mark.parametrize("name", ["data-dir", "registri", "threads_", "Entity"])
def test_an_unknown_key_in_the_file_is_an_error_that_names_the_known_ones(name, write_file):
    path = write_file(f'"{name}" = "x"')
    with pytest.raises(InvalidInputError) as caught:
        load_config()
    assert caught.value.message == f"{path}: {name}: there is no such setting"
    for field in dataclasses.fields(Config):
        assert field.name in caught.value.hint


def test_a_table_in_the_file_is_an_unknown_key(write_file):
    write_file("[artfs]\nthreads = 1")
    with pytest.raises(InvalidInputError, match="artfs: there is no such setting"):
        load_config()


def test_a_bad_value_is_found_even_where_another_source_wins(write_file, monkeypatch):
    write_file('threads = "many"')
    monkeypatch.setenv("ARTFS_THREADS", "2")
    with pytest.raises(InvalidInputError, match="'many'"):
        load_config({"threads": 3})


def test_variables_of_other_things_are_left_alone(monkeypatch):
    before = load_config()
    monkeypatch.setenv("ARTFS_REQUIRE_FUSE", "1")
    monkeypatch.setenv("ARTFS_THREAD", "5")
    assert load_config() == before
    assert os.environ["ARTFS_THREAD"] == "5"
