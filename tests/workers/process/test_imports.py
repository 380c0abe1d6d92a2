"""What a warm worker has loaded is copied, in part, for each job: so it is what jobs use, and all of that."""

import subprocess
import sys
from pathlib import Path

from tests import samples

RUN_ONE_JOB = """
import os, sys
from workers.__main__ import prepare
from workers.fork import start_fork
from workers.imaging import create_files, make_variants
from workers.messages import Ready, Task

sandbox, _ = prepare()
loaded, run = set(sys.modules), set()
os.register_at_fork(after_in_child=lambda: run.add("a hook after the fork"))
task = Task("job", sys.argv[1], sys.argv[2], ("large=800", "icon=64@webp"), 10**8, 20.0, 2**29, blurhash=True)
variants = create_files(task)

def work():
    sys.setprofile(lambda frame, *_: run.add(frame.f_globals["__name__"]))
    sandbox.confine_to_task(task, variants)
    make_variants(task, variants)
    sys.setprofile(None)
    added = set(sys.modules) - loaded | run & {"a hook after the fork", "re._compiler"}
    return Ready(os.getpid(), {"added": " ".join(added)[:100] or "nothing"})

print(*loaded)
print(start_fork(work, "job").wait_for_message().sandbox["added"])
"""


def test_a_worker_has_prepared_what_jobs_use_and_loads_no_other_codec(tmp_path: Path) -> None:
    """The process of a job imports nothing, compiles no expression and runs no hooks of other modules."""
    source = tmp_path / "source"
    source.write_bytes(samples.jpeg())
    ended = subprocess.run(
        [sys.executable, "-c", RUN_ONE_JOB, str(source), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    in_worker, in_fork = ended.stdout.splitlines()
    assert "PIL.JpegImagePlugin" in in_worker.split()
    assert not {"PIL.PdfImagePlugin", "PIL.EpsImagePlugin", "numpy", "asyncio"} & set(in_worker.split())
    assert in_fork == "nothing"
