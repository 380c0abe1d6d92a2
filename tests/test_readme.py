"""README.md and docs tell the truth about the code, and the README's commands do what it shows."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.commands import _shown
from app.server.problems import KINDS
from app.settings import Settings
from tests import samples
from tests.service import Service, environment, run, serving
from workers.variants import parse_variants

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs/settings.md").read_text()
API = (ROOT / "docs/api.md").read_text()
REFUSALS = API.partition("## Refusals")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^\$ (.+)$", README, re.MULTILINE)


def rows(section: str) -> list[list[str]]:
    """The cells of the tables of a text whose first column is code, without their heads."""
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


# --- tables ---------------------------------------------------------------------------------------------


def test_the_settings_tables_name_every_setting_in_order() -> None:
    """A setting without a row cannot be added."""
    names = [row[0].strip("`").lower() for row in rows(SETTINGS)]
    assert names == list(Settings.model_fields)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "workers"])
def test_a_settings_row_shows_the_default_and_the_meaning_of_the_code(name: str) -> None:
    """What the table says is what `spillway serve` starts with and what its `--help` says."""
    field = Settings.model_fields[name]
    shown = _shown(name, field.get_default())
    row = next(row for row in rows(SETTINGS) if row[0] == f"`{name.upper()}`")
    assert row[1].strip("`") == (shown or "empty")
    assert row[2] == field.description


def test_the_examples_of_variants_are_variants() -> None:
    """Lists in README and docs can be copied into VARIANTS."""
    pages = README + SETTINGS + (ROOT / "docs/api.md").read_text()
    examples = re.findall(r"(?:VARIANTS='|`)([a-z]+=[0-9x][^`']*)['`]", pages)
    assert len(examples) >= 3
    for example in examples:
        assert parse_variants(example)


def test_every_guard_has_a_row_in_the_table_of_refusals() -> None:
    """A reader finds each guard that may refuse an upload, with its status."""
    told = {(row[1].strip("`"), row[0].strip("`")) for row in rows(REFUSALS) if row[1]}
    assert told == {(kind.guard, str(kind.status)) for kind in KINDS.values() if kind.guard}


# --- commands -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """What `make run` starts, on another port, with a photo beside it; its tokens hardly ever come back."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photo.jpg").write_bytes(samples.jpeg(640, 480))
    with serving(folder, rate=0.01, keep_original="true") as service:
        yield service


def shell(service: Service, *commands: str) -> str:
    """What a shell prints for these commands, one after the other, without what `tee` and the like repeat."""
    script = "\n".join(commands).replace("127.0.0.1:8000", f"{service.host}:{service.port}")
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        cwd=service.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(beginning: str) -> str:
    """The one command of the README that begins so."""
    (found,) = [each for each in COMMANDS if each.startswith(beginning)]
    return found


def test_the_first_command_starts_the_service(running: Service) -> None:
    """`make run` ends in `spillway serve`, whose first line is the one that the README shows."""
    makefile = (ROOT / "Makefile").read_text()
    assert COMMANDS[0] == "make run"
    assert re.search(r"^run: .*\n\t@exec \$\(BIN\)/spillway serve", makefile, re.MULTILINE)
    shown = running.ready_line.strip().replace(f":{running.port}", ":8000")
    assert shown in README.splitlines()


def test_a_photo_is_uploaded_and_deleted(running: Service) -> None:
    """The two commands as they stand: the first prints a finished job, the second `204`."""
    upload, field, delete = command("curl -s -F"), command("field() "), command("curl -s -o /dev/null")
    printed = shell(running, upload)
    assert '"status": "done"' in printed
    for name in re.findall(r'^ {4}"(\w+)":', README, re.MULTILINE):
        assert f'"{name}":' in printed
    assert shell(running, field, delete) == "204\n"


def test_a_picture_is_the_answer(running: Service) -> None:
    """The command as it stands writes a small JPEG."""
    shell(running, command("curl -sfH"))
    with Image.open(running.folder / "thumb.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (96, 72))


def test_the_short_examples_of_the_api_s_page_do_what_they_say(running: Service) -> None:
    """As they stand: a picture that is answered, and an upload under a key."""
    picture, keyed = re.findall(r"^```sh\n(curl .*)\n```", API, re.MULTILINE)[:2]
    printed = shell(running, *(each.replace("localhost:8000", "127.0.0.1:8000") for each in (picture, keyed)))
    assert json.loads(printed)["status"] in ("queued", "processing", "done")
    with Image.open(running.folder / "thumb.jpg") as image:
        assert image.size == (96, 72)


def test_an_original_is_kept_for_its_owner(running: Service) -> None:
    """The commands of the API's page, as they stand: the upload comes back, and more is made of it."""
    example = API.partition("### Originals")[2].partition("```sh\n")[2].partition("```")[0]
    printed = shell(running, example.replace("localhost:8000", "127.0.0.1:8000"))
    assert set(json.loads(printed)["variants"]) == {"thumb", "small", "large"}
    assert (running.folder / "original.jpg").read_bytes() == (running.folder / "photo.jpg").read_bytes()


def test_who_is_too_fast_is_refused(running: Service) -> None:
    """The loop as it stands prints `202` while there are tokens, then `429`; `grep` shows the remedy."""
    answers = shell(running, command("for i in")).split()
    assert len(answers) == 16
    assert answers == sorted(answers)
    assert set(answers) == {"202", "429"}
    remedy = shell(running, command("grep")).splitlines()
    assert [line.partition(":")[0] for line in remedy] == ["retry-after", "ratelimit"]


def test_the_stampede_is_a_command(tmp_path: Path) -> None:
    """It has tests of its own; here that the README spells it as it is."""
    assert command(".venv/bin/spillway stampede").split()[2:] == ["http://127.0.0.1:8000"]
    assert run("stampede", "--help", folder=tmp_path).returncode == 0


def test_a_folder_of_photos_is_put(running: Service) -> None:
    """The command as it stands uploads what is in the folder, and waits for it."""
    (running.folder / "holiday").mkdir()
    (running.folder / "holiday/beach.jpg").write_bytes(samples.jpeg(64, 48))
    spillway, *arguments = command(".venv/bin/spillway put").split()
    assert spillway == ".venv/bin/spillway"
    with serving(running.folder / "holiday") as fresh:
        put = run(*arguments, "--to", fresh.url, folder=running.folder)
    assert (put.returncode, put.stdout.partition("\t")[0]) == (0, "beach.jpg"), put.stderr


def test_no_command_goes_untried() -> None:
    """A command that is added to the README gets a test here."""
    assert len(COMMANDS) == 9
