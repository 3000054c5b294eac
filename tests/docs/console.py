"""Documents as programs: their console and Python blocks are run, one after another, and what comes out is compared.

In a ``console`` block, a line that begins with ``$ `` is a command, ``> `` continues it, and everything else is what it prints. A
``python`` block is a program that must end well. All blocks of a document run in one shell with one home directory, so that later ones
go on where earlier ones ended. Comments of HTML, which a reader does not see, say the rest:

- ``<!-- first: COMMANDS -->`` runs commands, the last of which must succeed, such as making a file that the document speaks of;
- ``<!-- with: SERVICES -->`` asks for servers: see `tests.docs.services`;
- ``<!-- not run: REASON -->`` before a block leaves it out.

What differs from run to run is compared as a kind of thing: see `normal`. ``...`` in a shown line stands for any text, and as a line of its
own for any lines.
"""

import contextlib
import getpass
import grp
import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HOME = "/home/alice"
"""Where the documents are at home; the home directory of a run stands for it."""

_PIECE = re.compile(
    r"^<!-- (?P<word>first|not run):(?P<text>.*?)-->\n|^```(?P<language>\w*)\n(?P<body>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)
_MARK = "\x1e"  # between what one command prints and what the next one does
_PRELUDE = """
appears() {  # wait until a path is there; a listing makes the kernel forget that it was not
    local end=$((SECONDS + 90))
    until ls "$(dirname "$1")" >/dev/null 2>&1 && [ -e "$1" ]; do
        [ $SECONDS -lt $end ] || { echo "$1 does not appear"; return 1; }
        sleep 0.02
    done
}
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One command: ``shown`` is what the document says it prints, None where only its exit code counts."""

    command: str
    shown: str | None


def steps(text):
    """Return the steps of a document."""
    found, skip = [], False
    for piece in _PIECE.finditer(text):
        if piece["word"] == "first":
            found.append(Step(piece["text"].strip(), None))
        elif piece["word"] == "not run":
            assert piece["text"].strip(), "a block that is not run needs a reason"
            skip = True
        else:
            if not skip and piece["language"] == "console":
                found += _console(piece["body"])
            elif not skip and piece["language"] == "python":
                found.append(Step(f"python - <<'END OF PROGRAM'\n{piece['body']}END OF PROGRAM", None))
            skip = False
    return found


def _console(body):
    found = []
    for line in body.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], []])
        elif line.startswith("> ") and not found[-1][1]:
            found[-1][0] += "\n" + line[2:]
        else:
            found[-1][1].append(line)
    return [Step(command, "\n".join(shown)) for command, shown in found]


def normal(text, *, user=False):
    """Return a text with what differs from run to run as words: times, ids, process ids, durations; ``user``: of what was printed."""
    if user:
        name, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
        text = re.sub(rf"(?<= ){re.escape(name)} +{re.escape(group)}(?= )", "alice alice", text)
    lines = []
    for line in text.splitlines():
        line = re.sub(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "TIME", line)
        line = re.sub(r"\b[A-Z][a-z]{2} +\d{1,2} +(\d\d:\d\d|\d{4})\b", "TIME", line)
        line = re.sub(r"\bpid \d+", "pid N", line)
        line = re.sub(r"\bup \d[^,)]*", "up N", line)
        line = re.sub(r"\b\d+(\.\d+)? (ms|s|[kMG]?B/s)(?=\W|$)", "N s", line)
        if "digest" not in line:  # those of contents are the same for ever
            line = re.sub(r"\b[0-9a-f]{40}\b|\b[0-9a-f]{32}\b", "ID", line)
        lines.append(re.sub(r"[ \t]+", " ", line).rstrip())
    return "\n".join(lines)


def _replaced(text, pairs):
    for old, new in pairs:
        text = text.replace(old, new)
    return text


def matches(shown, printed):
    """Whether what was printed, made normal, is what is shown."""
    lines = normal(shown).splitlines()
    pattern = [
        r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n" for line in lines
    ]
    return re.fullmatch("".join(pattern), printed + "\n" * (printed != "")) is not None


def run(document, home, environment, names=None, timeout=1800):
    """Run the steps of a document; return what is not as it says, in words. Mounts that it leaves are the caller's to end.

    ``names`` are other words of the document with what stands for them, as the home directory does for `HOME`.
    """
    names = {HOME: str(home)} | (names or {})
    found = steps(document.read_text())
    script = [_PRELUDE, f"cd {shlex.quote(str(home))}"]
    for step in found:
        command = _replaced(step.command, names.items())
        script.append(f"printf '{_MARK}'; eval {shlex.quote(command)}; printf '{_MARK}%s' $?")
    program, output = home / ".steps", home / ".printed"
    program.write_text("\n".join(script))
    with output.open("wb") as file:  # a file, as a mount process that held a pipe would keep it open
        shell = subprocess.Popen(
            ["bash", program],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            shell.wait(timeout)
        finally:  # what the document has left running, too; mount processes are not among it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    pieces = output.read_text(errors="replace").split(_MARK)[1:]
    wrong = []
    for step, printed, code in zip(found, pieces[::2], pieces[1::2], strict=True):
        printed = normal(_replaced(printed.strip("\n"), ((real, word) for word, real in names.items())), user=True)
        if step.shown is None and int(code) != 0:
            wrong.append(f"$ {step.command}\nends with {code.strip()}:\n{printed}")
        elif step.shown is not None and not matches(step.shown, printed):
            wrong.append(f"$ {step.command}\nis shown to print\n{normal(step.shown)}\nbut prints\n{printed}")
    return wrong


def environment(home):
    """Return the variables of a user who has nothing but a home directory, and this program on the path."""
    return {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "SOURCE": str(Path(__file__).parents[2]),
        "ARTFS_ENTITY": "alice",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",  # small models: threads that wait for each other only take the processors from other tests
        "TZ": "UTC",
    }
