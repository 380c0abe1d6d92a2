"""A cluster on this machine: killed under load, or measured.

    python -m bench.cluster kills [--kills 60] [--pauses 0.2] [--stalls 0.2] [--nodes 3] [--seed 0]
    python -m bench.cluster scale [--jobs 200]

`kills`: two replicas, three workers, one NATS server or three, and an S3 server (Ceph where it is installed,
else moto). Clients send each photo with an Idempotency-Key to a random replica until it is acknowledged.
Workers, replicas and NATS servers are killed in turn by SIGKILL at random times and come back in a second.
Shares of the faults are other ones: in a pause, a worker process and its children are stopped for longer than
the lease of a job, as by `docker pause`; in a stall, all NATS servers are stopped for 1 s, repeatedly.
At the end every acknowledged upload must exist, done once, with every variant, and nothing else may exist.

`scale`: the figures of docs/scale.md. CPU time is that of the processes, from /proc/PID/stat. S3 is not
counted, because it is the same with one machine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.cluster import kills, scale
from bench.cluster.machines import Machines
from bench.soak import SETTINGS


def main() -> int:
    """Run `kills` or `scale`. Returns 1 when something was lost or doubled."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m bench.cluster",
    )
    parser.add_argument("what", choices=["kills", "scale"])
    parser.add_argument("--kills", type=int, default=60, help="faults under load (%(default)s)")
    parser.add_argument("--pauses", type=float, default=0.2, help="share that are pauses (%(default)s)")
    parser.add_argument("--stalls", type=float, default=0.2, help="share that are stalls (%(default)s)")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=3, help="NATS servers (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random times (%(default)s)")
    parser.add_argument("--jobs", type=int, default=200, help="for each row of scale (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spillway-cluster-") as name:
        if options.what == "scale":
            scale.run(Path(name), options.jobs)
            return 0
        own = {name: value for name, value in SETTINGS.items() if name != "workers"}
        with Machines(Path(name) / "machines", options.nodes, **own) as machines:
            for _ in range(2):
                machines.serve()
            for _ in range(3):
                machines.work()
            plan = kills.Plan(options.kills, options.pauses, options.stalls)
            told = kills.run(machines, plan, options.seed)
        print(f"\n{kills.summary(told, plan)}")
        print(f"answers to uploads: {dict(sorted(told.answers.items()))}")
        for fault in told.wrong:
            print(fault)
    return bool(told.wrong)


if __name__ == "__main__":
    sys.exit(main())
