"""The API in a kernel of Jupyter: cells of a notebook that nbclient executes, in a process of their own."""

import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.filterwarnings("default")  # those of Jupyter are not ours


@pytest.fixture
def execute(place, monkeypatch):
    """Execute cells in a notebook, and return what each says: its text and its result."""
    monkeypatch.setenv("IPYTHONDIR", str(place / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place / "jupyter"))

    def execute(*sources):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        resources = {"metadata": {"path": str(place)}}
        nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3", resources=resources).execute()
        return [
            "".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)
            for cell in notebook.cells
        ]

    return execute


LOG = """
import artfs
with artfs.init(project="demo", job_type="train") as run:
    model = artfs.Artifact("classifier", type="model", metadata={"acc": 0.98})
    for number in range(4):
        with model.new_file(f"notes{number}.txt") as f:
            f.write("hello")
    run.log_artifact(model, aliases=["best"])
    model.wait()
"""


def test_what_is_logged_in_a_cell_is_read_in_others(execute, api):
    said = execute(
        LOG,
        "[run, model]",
        "print(open(artfs.Api().artifact('demo/classifier:best').get_entry('notes1.txt').download()).read())",
        "with artfs.mounted('demo/classifier:best') as path:\n    print(open(f'{path}/notes2.txt').read())",
        "async def read():\n    return artfs.Api().artifact('demo/classifier:best').metadata\nawait read()",
        "import fsspec\nfsspec.open('artfs://me/demo/classifier:best/notes3.txt').open().read()",
    )
    assert said[0] == ""
    assert said[1].startswith("[<Run me/demo/")
    assert said[1].endswith(" (finished)>, <Artifact me/demo/classifier:v0>]")
    assert said[2:] == ["hello\n", "hello\n", "{'acc': 0.98}", "b'hello'"]
    (run,) = api.runs("demo")
    assert (run.state, run.exit_code) == ("finished", 0)


def test_a_run_that_a_notebook_leaves_open_ends_with_its_kernel(execute, api):
    execute("import artfs\nrun = artfs.init(project='demo', id='r', config={'lr': 0.1})\nrun.config['lr'] = 0.2")
    assert (api.run("demo/r").state, dict(api.run("demo/r").config)) == ("finished", {"lr": 0.2})


SLOW = """
import time
from artfs.api import placing
export = placing.export
def slowly(*arguments, done, **named):
    return export(*arguments, done=lambda *counts: (time.sleep(0.6), done(*counts)), **named)
placing.export = slowly
_ = artfs.Api().artifact("demo/classifier:best").download()
"""


def test_a_download_shows_its_progress_below_the_cell_and_takes_it_away(execute):
    shown = execute(LOG, SLOW)[1].split("\r")
    assert [line for line in shown if line.startswith("download: ") and line.rstrip().endswith(" of 4 files")]
    assert shown[-1] == ""
    assert not shown[-2].strip()
