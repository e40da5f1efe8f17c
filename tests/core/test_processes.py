"""Processes of our own: none is left behind, and none is waited for in vain."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest

from sgdsm.core.errors import SgdsmError
from sgdsm.core.processes import run_in_processes

FOREVER = 1000


@pytest.mark.slow
def test_the_first_failure_ends_the_others():
    with pytest.raises(ValueError, match="sleep length"):
        run_in_processes(time.sleep, [(-1,), (FOREVER,)])
    assert not active_children()


@pytest.mark.slow
def test_a_process_that_dies_is_told():
    with pytest.raises(SgdsmError, match="a process died"):
        run_in_processes(os._exit, [(1,), (1,)])


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """Each makes a file when it begins; then the first process is killed."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom sgdsm.core.processes import run_in_processes\n"
        "def work(name):\n    Path(name).touch()\n    time.sleep(1000)\n"
        "if __name__ == '__main__':\n    run_in_processes(work, [('a',), ('b',)])\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, env=environment)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("[ab]"))) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.kill()
    process.wait()
    while any(Path(f"/proc/{k}/cmdline").exists() for k in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [k for k in children if Path(f"/proc/{k}/cmdline").exists()]
