"""The runner of the documents finds what is not as it is shown."""

from pathlib import Path

import pytest

from tests.docs.console import environment, matches, normal, run, steps
from tests.harness import wait_for

PAGE = """
<!-- first:
mkdir -p d
echo one > d/f
-->
```console
$ cat d/f
one
$ for x in a b; do
>     echo $x
> done
a
b
$ cd d
```

```text
$ not a command
```

```console
$ pwd
/home/alice/d
```

<!-- not run: it never ends -->
```console
$ sleep infinity
```

```python
print("any output")
```
"""


def run_page(directory, text):
    page = directory / "page.md"
    page.write_text(text)
    home = directory / "home"
    home.mkdir()
    return run(page, home, environment(home))


def test_blocks_run_in_one_shell_and_are_as_shown(tmp_path):
    assert [step.command.split("\n")[0] for step in steps(PAGE)] == [
        "mkdir -p d", "cat d/f", "for x in a b; do", "cd d", "pwd", "python - <<'END OF PROGRAM'",
    ]  # fmt: skip
    assert run_page(tmp_path, PAGE) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("\none\n", "\ntwo\n"),
        ("a\nb\n", "a\n"),
        ("$ cd d\n", "$ cd d\nsomething\n"),
        ("echo one", "false && echo one"),
        ('print("any output")', "raise SystemExit(1)"),
    ],
)
def test_what_is_not_as_shown_is_found(tmp_path, right, wrong):
    assert PAGE.count(right) == 1
    assert run_page(tmp_path, PAGE.replace(right, wrong))


def test_a_block_is_left_out_only_for_a_reason():
    with pytest.raises(AssertionError, match="reason"):
        steps("<!-- not run: -->\n```console\n$ true\n```\n")


def test_dots_stand_for_any_text_and_for_any_lines():
    assert matches("a ... c\n...\nend", "a b c\n1\n2\nend")
    assert matches("...\nend", "end")
    assert not matches("a ... c", "a b d")
    assert not matches("...\nend", "end\nmore")
    assert not matches("", "something")


def test_only_what_differs_from_run_to_run_is_made_alike():
    assert normal("v0 Nov 24 20:33 pid 12 in 0.3 s") == normal("v0 Jan  1 00:00 pid 7 in 12 s")
    assert normal("id " + "a" * 32) == normal("id " + "b" * 32)
    assert normal("digest " + "a" * 32) != normal("digest " + "b" * 32)
    assert normal("150 rows") != normal("151 rows")


def test_what_a_document_leaves_running_is_ended_with_it(tmp_path):
    assert run_page(tmp_path, "```console\n$ sleep 100 & echo $! > pid\n```\n") == []
    status = Path(f"/proc/{int((tmp_path / 'home/pid').read_text())}/status")
    wait_for(lambda: not status.exists() or "State:\tZ" in status.read_text())
