"""The vfs can be driven by something other than pyfuse3: nothing in it, nor in its tests, imports it."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "artfs/vfs"


def test_importing_all_of_the_vfs_does_not_import_pyfuse3():
    modules = [f"artfs.vfs.{path.stem}" for path in PACKAGE.glob("*.py")]
    assert len(modules) > 5
    script = f"import sys, {', '.join(modules)}; sys.exit('pyfuse3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_importing_what_these_tests_use_does_not_import_pyfuse3():
    script = "import sys, tests.vfs.world, tests.vfs.conftest; sys.exit('pyfuse3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=HERE.parents[1]).returncode == 0
