"""Runs the attacks that are asked for and prints a row for each."""

import argparse
import os
import resource
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import bench.hostile
from bench.hostile import connections, fields, uploads
from bench.hostile.bodies import BODIES, attack_with
from bench.hostile.connections import pipelines, slowly
from bench.hostile.measure import COLUMNS, Attack, measure, nothing, service_class

SETTINGS: dict[str, object] = {
    "rate": 100,
    "burst": 200,
    "trusted_proxies": uploads.PROXY,
    "variants": "large=2400:97,thumb=96",
    "job_timeout": 5,
    "log_format": "json",
}
_SMALL_QUEUE = {"queue_size": 4, "brownout": "off"}

ATTACKS: dict[str, Attack] = {
    "none": Attack(nothing),
    "one pipeline": Attack(pipelines(1)),
    "300 pipelines": Attack(pipelines(300)),
    **{name: Attack(attack_with(name)) for name in BODIES},
    "long targets": Attack(fields.long_targets),
    "long lists": Attack(fields.long_lists),
    "unfinished heads": Attack(connections.unfinished),
    "endless heads": Attack(connections.endless),
    "dripping repeats": Attack(uploads.repeats),
    "idle connections": Attack(connections.idle),
    "slow heads (-H)": Attack(slowly("-H", "/v1/images", "-i", "1", "-x", "24")),
    "slow bodies (-B)": Attack(slowly("-B", "/v1/images", "-i", "1", "-s", "500000", "-f", "image/jpeg")),
    "slow readers (-X)": Attack(
        slowly("-X", "large", "-w", "512", "-y", "1024", "-n", "1", "-z", "64", "-k", "1")
    ),
    "decompression bombs": Attack(uploads.unpacked),
    "IPv6 networks": Attack(uploads.networks),
    "lingering": Attack(connections.lingering, max_files=4096),
    "ghosts": Attack(uploads.ghosts, settings=_SMALL_QUEUE, fills_queue=True),
}


def main() -> int:
    """Run every attack, or those that are named. Returns 1 if the honest client was ever refused."""
    parser = argparse.ArgumentParser(prog="python -m bench.hostile", description=bench.hostile.__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=8, help="of each attack (%(default)s)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(ATTACKS), default=list(ATTACKS),
                        help=f"of these attacks: {', '.join(ATTACKS)}")  # fmt: skip
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = [name for name in given.only if "(" not in name or connections.has_slowhttptest()]
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n{COLUMNS}", flush=True)
    well = True
    for (settings, max_files), group in groupby(names, lambda name: ATTACKS[name].setup):
        with tempfile.TemporaryDirectory(prefix="spillway-hostile-") as folder:
            service = service_class(max_files)(Path(folder), **{**SETTINGS, **settings})
            try:
                for name in group:
                    well &= measure(service, name, ATTACKS[name], given.seconds)
            finally:
                service.kill()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
