"""The demonstration: what the page's buttons request, and that none of it exists by default."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Start
from tests.service import Service, children, fresh_address, gone, is_running, serving, until


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A demonstration that is small enough to be filled quickly."""
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, demo=True, workers=2, queue_size=8, rate=50, burst=50) as service:
        yield service


def ask(service: Service, method: str, path: str, **fields: str) -> httpx.Response:
    """Send a request with these header fields, or with those that the page's own scripts would send."""
    with service.client() as client:
        return client.request(method, f"/v1/demo/{path}", headers=fields or {"Origin": service.url})


def acting(service: Service) -> list[int]:
    """The process ids of acts that are running."""
    return [pid for pid in children(service.pid) if is_running(pid) and "stampede" in command(pid)]


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return ""


def test_by_default_none_of_it_exists(start: Start) -> None:
    """There is no endpoint, and no mention of it in the description, in the stats or on the page."""
    service = start()
    for method, path in (
        ("POST", "levers"),
        ("DELETE", "levers"),
        ("POST", "acts/crowd"),
        ("DELETE", "acts"),
    ):
        assert ask(service, method, path).status_code == 404
    assert b"/v1/demo" not in service.get("/openapi.json").body
    assert "demo" not in service.stats()
    assert b"demo" not in service.get("/").body


def test_it_is_described_where_it_exists(demo: Service) -> None:
    """The endpoints are part of the API description."""
    described = demo.get("/openapi.json").json()
    assert set(described["paths"]) >= {"/v1/demo/levers", "/v1/demo/acts"}
    levers = {each["name"]: each for each in described["paths"]["/v1/demo/levers"]["post"]["parameters"]}
    assert set(levers) == set(demo.stats()["demo"]["levers"])
    assert levers["queue"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 8}
    acts = described["paths"]["/v1/demo/acts/{name}"]["post"]
    assert "bully" in acts["parameters"][0]["schema"]["enum"]
    assert set(acts["responses"]) == {"202", "403", "404", "409"}


@pytest.mark.parametrize(
    "fields",
    [
        {"X-Nothing": "said"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://elsewhere.example"},
        {"Origin": "http://["},
    ],
    ids=lambda fields: ", ".join(f"{name}: {value}" for name, value in fields.items()),
)
def test_no_other_page_can_press_the_buttons(demo: Service, fields: dict[str, str]) -> None:
    """Requests of other origins, and requests without an origin, are refused."""
    for method, path in (("POST", "levers?burst=1"), ("POST", "acts/bully"), ("DELETE", "acts")):
        answer = ask(demo, method, path, **fields)
        assert (answer.status_code, answer.json()["type"]) == (403, "/problems/foreign-origin")
    assert demo.stats()["demo"]["levers"]["burst"] == 50
    assert acting(demo) == []


@pytest.mark.parametrize("host", ["rebound.example", "203.0.113.9", "127.0.0.1.example", "localhost.example"])
def test_no_rebound_name_can_press_the_buttons(demo: Service, host: str) -> None:
    """A page of a name that points to this server is of the same origin to a browser, but not here."""
    authority = f"{host}:{demo.port}"
    fields = {"Host": authority, "Origin": f"http://{authority}", "Sec-Fetch-Site": "same-origin"}
    answer = ask(demo, "POST", "levers?burst=1", **fields)
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/foreign-origin")
    assert demo.stats()["demo"]["levers"]["burst"] == 50


def test_names_of_its_own_can(demo: Service, start: Start) -> None:
    """Its address, localhost, and the names of ALLOWED_HOSTS; on all interfaces, every address."""

    def press(service: Service, host: str) -> int:
        authority = f"{host}:{service.port}"
        return ask(service, "DELETE", "levers", Host=authority, Origin=f"http://{authority}").status_code

    assert press(demo, "localhost") == 200
    allowed = start(demo=True, allowed_hosts="photos.example", host="0.0.0.0", workers=1)  # noqa: S104
    assert press(allowed, "photos.example") == 200
    assert press(allowed, "evil.example") == 421
    assert press(allowed, "127.0.0.1") == 200
    assert press(allowed, "203.0.113.9") == 421


def test_a_server_on_all_interfaces_can_be_pressed_by_every_address(start: Start) -> None:
    """In a container it does not know the address of its published port; no name can hide in an address."""
    service = start(demo=True, host="0.0.0.0", workers=1)  # noqa: S104
    for host, status in (("203.0.113.9", 200), ("[2001:db8::1]", 200), ("rebound.example", 403)):
        authority = f"{host}:{service.port}"
        assert (
            ask(service, "DELETE", "acts", Host=authority, Origin=f"http://{authority}").status_code == status
        )


def test_the_page_itself_can(demo: Service) -> None:
    """Either of the fields that browsers send is enough."""
    for fields in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": demo.url}):
        assert ask(demo, "DELETE", "levers", **fields).status_code == 200


@pytest.mark.parametrize("wrong", ["burst=0", "queue=9", "workers=3", "rate=nan", "rate=fast", "door=1"])
def test_levers_have_bounds(demo: Service, wrong: str) -> None:
    """A value out of bounds, or an unknown setting, is refused, and nothing is changed."""
    answer = ask(demo, "POST", f"levers?burst=7&{wrong}")
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")
    assert demo.stats()["demo"]["levers"]["burst"] == 50


def test_levers_act_on_the_very_next_upload(demo: Service) -> None:
    """A smaller bucket refuses sooner, a smaller queue is full sooner, an inactive worker gets no job."""
    try:
        ask(demo, "POST", "levers?rate=0.1&burst=3")
        address = fresh_address()
        assert [demo.upload(address=address).status_code for _ in range(4)] == [202, 202, 202, 429]
        before = demo.settled()["workers"]
        state = ask(demo, "POST", "levers?rate=50&burst=50&workers=1").json()
        assert state["levers"] == {"rate": 50, "burst": 50, "queue": 8, "workers": 1}
        assert 295 <= state["back_in_s"] <= 300
        for _ in range(6):
            assert demo.upload().status_code == 202
        after = demo.settled()["workers"]
        assert [b["jobs"] - a["jobs"] for a, b in zip(before, after, strict=True)] == [6, 0]
    finally:
        ask(demo, "DELETE", "levers")
    assert demo.stats()["demo"]["levers"]["workers"] == 2


def test_a_smaller_queue_is_full_sooner(start: Start) -> None:
    """New uploads are refused at the new bound; those that wait already are not affected."""
    service = start(demo=True, queue_size=8, rate=50, burst=50)
    with service.paused():
        answers = [service.upload() for _ in range(4)]
        assert {answer.status_code for answer in answers} == {202}
        assert ask(service, "POST", "levers?queue=2").json()["levers"]["queue"] == 2
        assert service.upload().status_code == 503
        backlog = service.stats()["backlog"]
        assert (backlog["waiting"], backlog["overflow"]) == (2, 2), (
            "what waits beyond the queue is shown apart"
        )
        ask(service, "DELETE", "levers")
        assert service.upload().status_code == 202
    assert service.settled()["jobs"]["done"] == 6


def test_one_act_at_a_time_and_it_can_be_stopped(demo: Service) -> None:
    """A second act is refused with the longest time of the first; stopping one reports its result."""
    assert ask(demo, "POST", "acts/ballet").status_code == 404
    assert ask(demo, "POST", "acts/bully").status_code == 202
    second = ask(demo, "POST", "acts/crowd")
    assert (second.status_code, second.json()["type"]) == (409, "/problems/act-running")
    until(lambda: demo.stats()["refusals"]["rate"] > 10, "the bully to be refused")
    (pid,) = acting(demo)
    state = ask(demo, "DELETE", "acts").json()
    assert not is_running(pid)
    assert state["act"] is None
    assert state["last"]["act"] == "bully"
    assert state["last"]["answers"]["429"] > 10
    demo.settled()


def test_an_act_gets_neither_settings_nor_keys(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is a client: it needs neither the server's settings nor the keys to its store."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a key")
    service = start(demo=True)
    ask(service, "POST", "acts/bully")
    (pid, *_) = until(lambda: acting(service), "the act to begin")
    with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        variables = file.read().split(b"\0")
    ask(service, "DELETE", "acts")
    assert any(variable.startswith(b"PATH=") for variable in variables)
    assert not any(variable.startswith((b"AWS_", b"SPILLWAY_")) for variable in variables)


def test_an_act_ends_with_the_server(start: Start) -> None:
    """The process of an act ends when the server does."""
    service = start(demo=True)
    ask(service, "POST", "acts/bully")
    found: list[Any] = until(lambda: acting(service), "the act to begin")
    assert service.stop() == 0
    for pid in found:
        gone(pid)
