"""The documents say what the program does: help texts, links, commands, settings, tables, errors, formats."""

import dataclasses
import errno
import fnmatch
import importlib.util
import re
import shlex
import sqlite3
import tomllib
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import click
import pytest

from artfs import errors
from artfs.cache.compile import SCHEMA as INDEX_SCHEMA
from artfs.cli.main import COMMANDS, main
from artfs.config import Config
from artfs.config.described import DESCRIPTIONS
from artfs.config.sources import OTHER_VARIABLES
from artfs.config.values import SETTINGS
from artfs.fuse.errnos import ERRNOS
from artfs.fuse.options import _KNOWN as MOUNT_OPTIONS
from artfs.model.digest import version_digest
from artfs.model.manifest import decode_manifest, encode_manifest
from artfs.registry.sql import schema
from artfs.staging.database import SCHEMA as DRAFT_SCHEMA
from artfs.vfs import xattrs

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts) and "node_modules" not in path.parts
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name_of(path):
    return str(path.relative_to(ROOT))


def text_of(name):
    return (ROOT / name).read_text()


def without_code(text):
    return re.sub(r"`[^`\n]*`", "code", _FENCE.sub("", text))


def anchors_of(text):
    """Return the anchors that a page has, as GitHub makes them out of its headings."""
    found = set()
    for heading in re.findall(r"^#+ +(.*?) *$", _FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def shell_commands(text):
    """Yield the commands that a page shows: in shell blocks, in console blocks after the prompt, and as inline code."""
    for language, body in _FENCE.findall(text):
        for line in body.splitlines():
            if language == "sh":
                yield line
            elif language == "console" and line.startswith("$ "):
                yield line[2:]
    yield from re.findall(r"`((?:artfs|make) [^`\n]+)`", _FENCE.sub("", text))


def words_of(text):
    """Yield the words of each simple command of a page."""
    for line in shell_commands(text):
        words = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def check_artfs(words):
    """Check that a command line names a command and options that exist."""
    root = click.Context(main, info_name="artfs", **main.context_settings)
    _, rest, _ = main.make_parser(root).parse_args(list(words))
    if rest and not rest[0].isupper():  # else a placeholder: artfs COMMAND --help
        assert rest[0] in COMMANDS, f"artfs has no command {rest[0]!r}"
        command = main.get_command(root, rest[0])
        command.make_parser(click.Context(command, parent=root, info_name=rest[0])).parse_args(rest[1:])


def start_section():
    text = text_of("README.md")
    return text[text.index("\n## Start\n") : text.index("\n## A tour of five minutes\n")]


def program_of_the_documents(name):
    """Return a program that lies beside the documents, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_help_texts_in_the_documents_are_those_of_the_program():
    page = text_of("docs/cli.md")
    assert program_of_the_documents("generate").generated(page) == page, "run python docs/generate.py"
    assert all(f"\n## artfs {name}\n" in page for name in COMMANDS)


def test_the_settings_in_the_documents_are_those_of_the_program():
    page = text_of("docs/configuration.md")
    assert program_of_the_documents("generate").with_settings(page) == page, "run python docs/generate.py"


def test_the_table_of_the_settings_is_the_same_on_every_machine(monkeypatch):
    table = program_of_the_documents("generate").settings_table()
    for name, value in {"HOME": "/elsewhere", "XDG_DATA_HOME": "/data", "XDG_RUNTIME_DIR": "/run/1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(99)))
    assert program_of_the_documents("generate").settings_table() == table


def test_the_picture_of_the_tour_is_drawn_from_the_readme():
    picture = program_of_the_documents("picture")
    assert picture.PICTURE.read_text() == picture.drawn(text_of("README.md")), "run python docs/picture.py"
    ElementTree.parse(picture.PICTURE)
    shown = [line for block in _CONSOLE.findall(text_of("README.md"))[: picture.BLOCKS] for line in block.splitlines()]
    assert max(map(len, shown)) <= picture.COLUMNS


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_somewhere(document):
    for link in _LINK.findall(without_code(document.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = document if not path else document.parent / path
        assert target.exists(), f"{link} leads to nothing"
        if anchor:
            assert anchor in anchors_of(target.read_text()), f"{link}: there is no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_and_options_exist(document):
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for words in words_of(document.read_text()):
        try:
            if Path(words[0]).name == "artfs":
                check_artfs(words[1:])
            elif words[0] == "make":
                assert set(words[1:]) <= targets, "no such target"
        except (AssertionError, click.UsageError) as error:
            pytest.fail(f"{' '.join(words)}: {error}")


def test_the_start_of_the_readme_shows_commands_that_are_checked():
    commands = list(words_of(start_section()))
    assert ["make", "demo"] in commands
    assert [Path(words[0]).name for words in commands].count("artfs") >= 1


def test_a_command_that_does_not_exist_is_found():
    for words in (["frobnicate"], ["mount", "--frobnicate", "x"], ["alias", "--name"]):
        with pytest.raises((AssertionError, click.UsageError)):
            check_artfs(words)


def test_every_setting_is_described():
    assert set(DESCRIPTIONS) == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_variables_exist(document):
    known = {f"ARTFS_{name.upper()}" for name in (*SETTINGS, *OTHER_VARIABLES)}
    assert set(re.findall(r"\bARTFS_[A-Z_]*[A-Z]\b", document.read_text())) <= known


def test_every_table_is_documented():
    text = text_of("docs/formats.md")
    database = sqlite3.connect(":memory:")
    database.executescript(INDEX_SCHEMA + DRAFT_SCHEMA)
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    database.close()
    for table in tables | set(schema.metadata.tables):
        assert f"`{table}`" in text, f"table {table} is not documented"


def test_every_errno_is_documented():
    table = text_of("docs/mount.md").partition("\n## Errors\n")[2].partition("\n## ")[0]
    for number in ERRNOS.values():
        assert errno.errorcode[number] in table or (number == errno.EOPNOTSUPP and "EOPNOTSUPP" in table)


def test_every_exit_code_is_documented():
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", text_of("docs/cli.md"), re.MULTILINE)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert {kind.exit_code for kind in classes if issubclass(kind, errors.ArtfsError)} <= codes


def test_every_extended_attribute_is_documented():
    text = text_of("docs/mount.md")
    for name in (*xattrs._OF_VERSION, "ref", "cached", "verified", "error", "progress", "control", "pid", "registry"):
        assert f"`user.artfs.{name}`" in text


def test_every_mount_option_is_documented():
    table = text_of("docs/mount.md").partition("\n## Options of the mount\n")[2].partition("\n## ")[0]
    for option in MOUNT_OPTIONS.split(", "):
        assert f"`{option}`" in table


def test_the_digest_of_a_version_is_computed_as_documented():
    (code,) = [body for language, body in _FENCE.findall(text_of("docs/formats.md")) if language == "python"]
    scope = {}
    exec(code, scope)
    contents = {path: {"digest": digest} for path, digest in (("b", "1"), ("a/ü", "2"), ("a", "3"))}
    pairs = sorted((path, entry["digest"]) for path, entry in contents.items())
    assert scope["version_digest"]({"contents": contents}) == version_digest(pairs)


def test_the_manifest_in_the_documents_is_one_that_artfs_writes():
    (example,) = [body for language, body in _FENCE.findall(text_of("docs/formats.md")) if language == "json"]
    assert b"".join(encode_manifest(decode_manifest([example.encode()]))).decode() == example


def test_the_packages_and_walls_in_the_documents_are_those_of_the_program():
    text = text_of("docs/architecture.md")
    layers = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    assert f"\n{' > '.join(layers).replace('artfs.', '')}\n" in text
    described = set(re.findall(r"^\| `(\w+)/?` \| ", text, re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "artfs").glob("*/__init__.py")}
    assert described == packages | {"errors"}
    modules = {path.stem for path in (ROOT / "artfs").glob("*.py")} - {"__init__", "errors", "version"}
    assert modules == set(re.findall(r"`(\w+)`", text.partition("\nBeside them are ")[2].partition("\n")[0]))


def test_the_modules_and_threads_in_the_documents_are_there():
    text = text_of("docs/architecture.md")
    for module in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert (ROOT / "artfs" / module).exists() or (ROOT / module).exists(), module
    sources = "".join(path.read_text() for path in (ROOT / "artfs").rglob("*.py"))
    for thread in re.findall(r"`(artfs-[\w-]+)`", text):
        assert f'"{thread}"' in sources, thread
    for package, name in re.findall(r"`(\w+)\.([A-Z]\w+)`", text):
        if (ROOT / "artfs" / package).is_dir():
            assert any(f"class {name}" in path.read_text() for path in (ROOT / "artfs" / package).rglob("*.py")), name


# The page that the Python API follows -----------------------------------------------------------------------------

_ATTRIBUTES = """aliases commit_hash created_at description digest entity id manifest metadata name project size source_version state type
    updated_at version"""
_METHODS = """add add_dir add_file add_reference checkout delete download expected_type file files from_id get get_path json_encode link
    logged_by new_file save used_by verify wait __getitem__ __setitem__"""


def test_every_row_of_the_page_has_a_test_that_is_there():
    section = text_of("docs/api.md").partition("## Every row of the page")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\S.*?) \| (.*?) \|$", section, re.MULTILINE))
    wanted = {f"`{name}`" for name in f"{_ATTRIBUTES} {_METHODS}".split()} | {"the constructor"}
    assert {name for name in rows if name not in {"attribute", "method"}} - {"---"} == wanted
    files = list((ROOT / "tests/api").glob("test_*.py"))
    tests = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)}
    known = tests | {file.name for file in files}
    for row, named in rows.items():
        for pattern in re.findall(r"`(test_[\w*.]+)`", named):
            assert fnmatch.filter(known, pattern), (row, pattern)
        assert row in {"attribute", "method"} or "`test_" in named, row
