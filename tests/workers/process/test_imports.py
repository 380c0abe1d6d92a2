"""What a warm worker has loaded is copied, in part, for each job: so it is what jobs use, and all of that."""

import subprocess
import sys
from pathlib import Path

from tests import samples

RUN_ONE_JOB = """
import os, sys
from workers import process
from workers.__main__ import _rehearse
from workers.canary import check_codecs
from workers.codecs import load_codecs
from workers.fork import start_fork
from workers.imaging import create_files, make_variants
from workers.messages import Ready, Task
from workers.sandbox import Sandbox

sandbox = Sandbox.prepare(threads=load_codecs())
check_codecs()
_rehearse(sandbox)
process.settle_memory()
loaded = set(sys.modules)
task = Task("job", sys.argv[1], sys.argv[2], ("large=800", "icon=64@webp"), 10**8, 20.0, 2**29, blurhash=True)
variants = create_files(task)

def work():
    sandbox.confine_to_task(task, variants)
    make_variants(task)
    return Ready(os.getpid(), {"loaded": " ".join(set(sys.modules) - loaded)[:100] or "nothing"})

print(*loaded)
print(start_fork(work, "job").wait_for_message().sandbox["loaded"])
"""


def test_a_worker_has_loaded_what_jobs_use_and_no_other_codec(tmp_path: Path) -> None:
    """A job imports nothing in its own process, and a worker no format that is not accepted."""
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
