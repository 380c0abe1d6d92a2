"""`spillway size` follows the figures of docs/benchmarks.md, and says what docs/sizing.md shows."""

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings
from app.size_command import size
from app.sizing import PIPELINE, TRIAL_MS, WRITTEN, Demand, estimate
from tests.examples import examples
from tests.service import run

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "sizing.md").read_text()
BENCHMARKS = (DOCS / "benchmarks.md").read_text()
DEMAND = Demand(
    photos_per_s=20_000 / 3600,
    peak=3,
    megapixels=12,
    format="jpeg",
    upload_bytes=3e6,
    variants=Settings.model_fields["variants"].default,
    retention_s=86_400,
    keeps_originals=False,
    wait_s=10,
)


def number(cell: str) -> float:
    """A figure as the tables have it."""
    return float(cell.strip().strip("*").replace(" ", ""))


def rows(pattern: str) -> list[tuple[str, ...]]:
    """What a pattern finds in the lines of docs/benchmarks.md."""
    found: list[tuple[str, ...]] = re.findall(pattern, BENCHMARKS, re.MULTILINE)
    return found


def test_the_figures_of_the_pipeline_are_those_of_the_benchmarks() -> None:
    """CPU and peak memory of each format and size, in the first table of imaging."""
    section = BENCHMARKS.partition("## Imaging")[2].partition("into WebP:")[0]
    told = {}
    for line in re.findall(r"^\| (\d+ MP \w+ \|.*) \|$", section, re.MULTILINE):
        cells = [cell.strip() for cell in line.split("|")]
        megapixels, _, format_ = cells[0].split()
        told[format_.lower(), float(megapixels)] = (number(cells[1]), number(cells[6]))
    used = {(name, row.megapixels): row[1:] for name, measured in PIPELINE.items() for row in measured}
    assert told == used


def test_what_other_formats_cost_is_in_the_benchmarks() -> None:
    """To a twentieth: CPU as a multiple of JPEG's, and bytes of the default variants."""
    told = rows(r"^\| (JPEG|WebP|AVIF|PNG) \| \d+ \| ([\d.]+) \| ([\d ]+) \|$")
    assert {name.lower() for name, _, _ in told} == set(WRITTEN)
    jpeg_ms = PIPELINE["jpeg"][1].cpu_ms
    for name, multiple, total in told:
        written = WRITTEN[name.lower()]
        assert written.cpu_ms * 2.48 + jpeg_ms == pytest.approx(float(multiple) * jpeg_ms, rel=0.05)
        assert written.size * 2.48 == pytest.approx(number(total), rel=0.05)


def test_the_model_gives_what_was_measured_through_http() -> None:
    """The photos a second of two cores, to a tenth; and a worker's CPU for one, on the same machine."""
    ((per_s, server_ms, worker_ms),) = rows(
        r"^\| spillway, through HTTP \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|"
    )
    need = estimate(DEMAND)
    assert 2000 / (need.worker_ms + need.server_ms) == pytest.approx(float(per_s), rel=0.1)
    assert need.server_ms == pytest.approx(float(server_ms), rel=0.1)
    assert need.worker_ms == pytest.approx(float(worker_ms), rel=0.1)
    assert float(worker_ms) == TRIAL_MS


@examples
@given(
    st.sampled_from(["photos_per_s", "peak", "megapixels", "upload_bytes", "retention_s", "wait_s"]),
    st.floats(1, 50),
    st.sampled_from(sorted(PIPELINE)),
)
def test_more_of_anything_never_needs_less(what: str, times: float, format_: str) -> None:
    """Whatever is multiplied, no part of the machine shrinks; and a faster one never needs more cores."""
    fewer = replace(DEMAND, format=format_)
    more = replace(fewer, **{what: getattr(fewer, what) * times})
    for name in ("cores", "workers", "replicas", "memory", "files", "network_bits_per_s"):
        assert getattr(estimate(fewer), name) <= getattr(estimate(more), name), name
    assert estimate(replace(more, speed=times)).cores <= estimate(more).cores


def test_images_that_stay_for_good_are_counted_for_a_year() -> None:
    """So the disk is finite, and what a day adds stands beside it."""
    need = estimate(replace(DEMAND, retention_s=math.inf))
    assert need.disk == pytest.approx(365 * need.disk_per_day, rel=0.3)


def test_the_arithmetic_of_the_page_is_that_of_the_code() -> None:
    """Its results that the command does not print: memory in MB, and kB of an image."""
    told = {
        name: float(result)
        for name, result in re.findall(r"^\| ([\w ]+?) \| .* \| ([\d.]+)(?: \w+)? \|$", PAGE, re.MULTILINE)
    }
    need = estimate(DEMAND)
    a_day = DEMAND.photos_per_s * 86_400
    assert round(need.memory / 1e6) == told["memory in use"]
    assert round((need.disk_per_day / a_day - 16_384) / 1000) == told["bytes of an image"]
    assert round(need.worker_ms) == told["CPU of a worker for one"]
    assert round(need.server_ms) == told["CPU of the server for one"]
    assert need.replicas == told["server processes"]


def test_the_example_of_the_page_is_what_the_command_prints(tmp_path: Path) -> None:
    """As it stands, with the default settings."""
    command, shown = re.findall(r"```console\n\$ spillway (size .*)\n((?:.|\n)*?)```", PAGE)[0]
    printed = run(*command.split(), folder=tmp_path)
    assert (printed.returncode, printed.stdout) == (0, shown), printed.stderr


def test_a_program_gets_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON, by the names of `Need`, with the speed that was assumed."""
    monkeypatch.chdir(tmp_path)
    size(20_000, photo_bytes="3MB", as_json=True)
    assert json.loads(capsys.readouterr().out) == {"speed": 1, **asdict(estimate(DEMAND))}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"megapixels": 200}, "more than MAX_PIXELS"),
        ({"variants": "x=y"}, "SPILLWAY_VARIANTS='x=y'"),
        ({"photo_bytes": "many"}, "--bytes: "),
    ],
)
def test_what_cannot_be_sized_is_told_in_one_line(
    options: dict[str, Any],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With status 2."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        size(20_000, **options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
