"""The settings: their defaults, how they are written, and what is refused before the start."""

import math
import os
from pathlib import Path

import pytest

from app import setting_checks
from app.runtime.cgroup import usable_cpus
from app.setting_checks import describe, unknown_names, warnings_for
from app.settings import Settings, SettingsError, load_settings
from tests.settings_error import complaint
from workers.background import read_colour
from workers.variants import parse_variants

KIB, MIB, GIB = 2**10, 2**20, 2**30

CONTRACT = {
    "host": "127.0.0.1",
    "port": 8000,
    "rate": 2,
    "burst": 10,
    "limiter": "token_bucket",
    "max_delay": 2,
    "ipv6_prefix": 64,
    "trusted_proxies": (),
    "max_clients": 100_000,
    "queue_size": 100,
    "max_receiving": 200,
    "max_wait": 60,
    "client_share": 20,
    "workers": usable_cpus(),
    "background": "white",
    "blurhash": False,
    "max_upload_bytes": 32 * MIB,
    "max_pixels": 100_000_000,
    "job_timeout": 30,
    "worker_memory": GIB,
    "truncated": "refuse",
    "upload_timeout": 120,
    "min_upload_rate": 8 * KIB,
    "on_full": "reject",
    "brownout": "on",
    "brownout_high": 0.75,
    "brownout_low": 0.25,
    "deferred_size": 1000,
    "store_url": "file:./data",
    "retention": 86_400,
    "keep_original": False,
    "store_max_bytes": 10 * GIB,
    "engine_url": "local:",
    "public_url": "",
    "serve": "proxy",
    "admin_port": None,
    "admin_host": "127.0.0.1",
    "upload_keys": (),
    "webhook_url": "",
    "webhook_secret": "",
    "webhook_events": ("image.done", "image.failed"),
    "max_hold": 60,
    "max_streams": 1000,
    "drain_timeout": 20,
    "cors_origins": (),
    "allowed_hosts": (),
    "log_format": "text",
    "demo": False,
}


@pytest.fixture(autouse=True)
def environment(bare_environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with no settings, to be filled by the test."""
    return bare_environment


# --- values ---------------------------------------------------------------------------------------------


def test_the_defaults_are_the_contract_s() -> None:
    """With nothing set, every setting has the value that the documentation promises."""
    settings = load_settings()
    given = {name: getattr(settings, name) for name in Settings.model_fields if name != "variants"}
    assert given == CONTRACT
    variants = ",".join(variant.spec for variant in settings.variants)
    assert variants == "large=1600,medium=800,small=320,thumb=96"
    assert {(variant.format, variant.quality) for variant in settings.variants} == {("jpeg", 80)}


def test_every_setting_is_described() -> None:
    """`--help` has something to say about each."""
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", MIB),
        ("8KiB", 8 * KIB),
        ("8kib", 8 * KIB),
        ("8K", 8 * KIB),
        ("32m", 32 * MIB),
        ("10 g", 10 * GIB),
        ("1 000 KiB", 1000 * KIB),
        ("8kB", 8000),
        ("32 MiB", 32 * MIB),
        (" 1.5GiB ", 3 * GIB // 2),
        ("1GB", 10**9),
        ("1_000_000", 10**6),
        ("100B", 100),
    ],
)
def test_sizes_are_written_as_people_write_them(
    environment: pytest.MonkeyPatch, text: str, size: int
) -> None:
    """Plain bytes, or with a unit, binary or decimal."""
    environment.setenv("SPILLWAY_MAX_UPLOAD_BYTES", text)
    assert load_settings().max_upload_bytes == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1500ms", 1.5),
        ("2.5", 2.5),
        ("10m", 600),
        ("10min", 600),
        ("24h", 86_400),
        ("7d", 604_800),
        ("100000h", 360_000_000),
        (" Inf ", math.inf),
    ],
)
def test_durations_are_written_as_people_write_them(
    environment: pytest.MonkeyPatch, text: str, seconds: float
) -> None:
    """Plain seconds, or with a unit."""
    environment.setenv("SPILLWAY_RETENTION", text)
    assert load_settings().retention == seconds


def test_lists_are_separated_by_commas_or_spaces(environment: pytest.MonkeyPatch) -> None:
    """A single address is a network of one."""
    environment.setenv("SPILLWAY_TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8 192.0.2.1")
    environment.setenv("SPILLWAY_CORS_ORIGINS", "https://a.example,https://b.example")
    settings = load_settings()
    assert [str(network) for network in settings.trusted_proxies] == [
        "10.0.0.0/8",
        "fd00::/8",
        "192.0.2.1/32",
    ]
    assert settings.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("https://app.example/", "https://app.example"),
        ("HTTPS://App.Example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(
    environment: pytest.MonkeyPatch, given: str, origin: str
) -> None:
    """So that what people copy from the address bar works."""
    environment.setenv("SPILLWAY_CORS_ORIGINS", given)
    assert load_settings().cors_origins == (origin,)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://www.example/photos/", "https://www.example/photos"),
        ("HTTPS://WWW.Example:443/Photos", "https://www.example/Photos"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:80/a/b%20c/", "http://[::1]/a/b%20c"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_public_url_is_what_links_can_begin_with(
    environment: pytest.MonkeyPatch, given: str, kept: str
) -> None:
    """A path is put behind it as it stands, whether or not it was given with a final slash."""
    environment.setenv("SPILLWAY_PUBLIC_URL", given)
    assert load_settings().public_url == kept


def test_hosts_are_names_or_addresses(environment: pytest.MonkeyPatch) -> None:
    """In lower case, since that is how the Host field is compared."""
    environment.setenv("SPILLWAY_ALLOWED_HOSTS", "Photos.example,*.photos.example [::1] 192.0.2.7")
    assert load_settings().allowed_hosts == ("photos.example", "*.photos.example", "[::1]", "192.0.2.7")


def test_a_dot_env_file_is_read_and_the_environment_wins(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An argument of the command wins over both."""
    (tmp_path / ".env").write_text("SPILLWAY_RATE=5\nSPILLWAY_BURST=50\nSPILLWAY_PORT=1\nOTHER=1\n")
    environment.setenv("SPILLWAY_BURST", "7")
    environment.setenv("SPILLWAY_PORT", "2")
    settings = load_settings(port=3)
    assert (settings.rate, settings.burst, settings.port) == (5, 7, 3)


def test_an_empty_variable_is_one_that_is_not_set(environment: pytest.MonkeyPatch) -> None:
    """Container files set variables to nothing to mean the default."""
    for name in Settings.model_fields:
        environment.setenv(f"SPILLWAY_{name.upper()}", "")
    assert load_settings() == Settings()
    assert load_settings().trusted_proxies == ()


def test_receiving_slots_follow_the_queue(environment: pytest.MonkeyPatch) -> None:
    """There are twice as many as the queue has places, unless MAX_RECEIVING is set itself."""
    environment.setenv("SPILLWAY_QUEUE_SIZE", "7")
    assert load_settings().max_receiving == 14
    environment.setenv("SPILLWAY_MAX_RECEIVING", "3")
    assert load_settings().max_receiving == 3


def test_variants_are_read_by_their_grammar(environment: pytest.MonkeyPatch) -> None:
    """Size, format and quality of each."""
    environment.setenv("SPILLWAY_VARIANTS", "big=2000@webp:70, icon=64@png")
    big, icon = load_settings().variants
    assert (big.name, big.width, big.format, big.quality) == ("big", 2000, "webp", 70)
    assert (icon.name, icon.width, icon.format) == ("icon", 64, "png")


@pytest.mark.parametrize(
    ("written", "colour"),
    [
        ("#fff", (255, 255, 255)),
        ("#1A2b3C", (26, 43, 60)),
        ("Teal", (0, 128, 128)),
        ("rebeccapurple", (102, 51, 153)),
    ],
)
def test_a_background_is_a_colour_of_css(
    environment: pytest.MonkeyPatch, written: str, colour: tuple[int, int, int]
) -> None:
    """As hexadecimal digits or by its name; it is kept as it was written."""
    environment.setenv("SPILLWAY_BACKGROUND", written)
    assert load_settings().background == written
    assert read_colour(written) == colour


def test_a_background_that_is_transparent_is_told_so(environment: pytest.MonkeyPatch) -> None:
    """CSS has such colours, so the error does not say that it is none."""
    for written in ("transparent", "#fff0", "hsla(0, 0%, 0%, 0)"):
        environment.setenv("SPILLWAY_BACKGROUND", written)
        with pytest.raises(SettingsError, match="cannot be transparent"):
            load_settings()


@pytest.mark.parametrize(
    "spec", ["a=1600", "b=7x", "c=x9", "d=4x3", "e=4x3/cover-smart@webp+anim", "f=8@jpeg+p3"]
)
def test_every_variant_has_a_line_of_its_own(spec: str) -> None:
    """`spillway check` says in words what a variant will be."""
    (variant,) = parse_variants(spec)
    line = describe(variant)
    assert line.startswith(f"{variant.name}: ")
    assert ("filled" in line) == ("cover" in spec)
    assert ("Display P3" in line) == ("p3" in spec)


def test_settings_do_not_change() -> None:
    """The settings that were checked at the start hold as long as the process runs."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().rate = 5


# --- refusals -------------------------------------------------------------------------------------------

BAD = [
    ("PORT", "http"),
    ("PORT", "65536"),
    ("RATE", "0"),
    ("RATE", "-1"),
    ("RATE", "fast"),
    ("RATE", "nan"),
    ("RATE", "inf"),
    ("RETENTION", "-inf"),
    ("RETENTION", "101y"),
    ("RETENTION", "40000d"),
    ("MAX_HOLD", "inf"),
    ("BURST", "0"),
    ("BURST", "1.5"),
    ("LIMITER", "sieve"),
    ("MAX_DELAY", "61"),
    ("MAX_DELAY", "-1s"),
    ("IPV6_PREFIX", "129"),
    ("TRUSTED_PROXIES", "proxy.example"),
    ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ("TRUSTED_PROXIES", "10.0.0.1/8"),
    ("MAX_CLIENTS", "0"),
    ("QUEUE_SIZE", "0"),
    ("MAX_RECEIVING", "-1"),
    ("MAX_WAIT", "0"),
    ("MAX_WAIT", "nan"),
    ("CLIENT_SHARE", "0"),
    ("WORKERS", "257"),
    ("WORKERS", "many"),
    ("VARIANTS", "large"),
    ("VARIANTS", "large=0"),
    ("VARIANTS", "events=100"),
    ("VARIANTS", "a=1,a=2"),
    ("VARIANTS", "a=1@bmp"),
    ("VARIANTS", "a=1\nb=2"),
    ("VARIANTS", "original=100"),
    ("VARIANTS", "a=100/cover"),
    ("BACKGROUND", "transparent"),
    ("BACKGROUND", "#12345678"),
    ("BACKGROUND", "rgba(1, 2, 3, 0.5)"),
    ("BACKGROUND", "#12"),
    ("BACKGROUND", "ffffff"),
    ("BACKGROUND", "snowwhite"),
    ("MAX_UPLOAD_BYTES", "32 megs"),
    ("MAX_UPLOAD_BYTES", "0"),
    ("MAX_UPLOAD_BYTES", "-5MiB"),
    ("MAX_PIXELS", "0"),
    ("JOB_TIMEOUT", "0"),
    ("WORKER_MEMORY", "1MiB"),
    ("UPLOAD_TIMEOUT", "soon"),
    ("MIN_UPLOAD_RATE", "-1"),
    ("ON_FULL", "explode"),
    ("BROWNOUT", "maybe"),
    ("BROWNOUT_HIGH", "1.5"),
    ("BROWNOUT_LOW", "-0.1"),
    ("DEFERRED_SIZE", "0"),
    ("RETENTION", "0"),
    ("RETENTION", "1 fortnight"),
    ("STORE_MAX_BYTES", "0"),
    ("MAX_HOLD", "-1"),
    ("MAX_STREAMS", "0"),
    ("DRAIN_TIMEOUT", "two"),
    ("LOG_FORMAT", "xml"),
    ("DEMO", "perhaps"),
    ("CORS_ORIGINS", "app.example"),
    ("CORS_ORIGINS", "https://app.example/path"),
    ("CORS_ORIGINS", "https://user@app.example"),
    ("CORS_ORIGINS", "https://app.example:port"),
    ("CORS_ORIGINS", "https://"),
    ("CORS_ORIGINS", "https://*.app.example"),
    ("CORS_ORIGINS", "https://a.example https:b.example"),
    ("ALLOWED_HOSTS", "https://photos.example"),
    ("ALLOWED_HOSTS", "photos.example:8000"),
    ("ALLOWED_HOSTS", "photos.example/path"),
    ("ALLOWED_HOSTS", "*"),
    ("STORE_URL", "s3://Bucket/prefix"),
    ("STORE_URL", "./data"),
    ("STORE_URL", "file:"),
    ("STORE_URL", "file://"),
    ("ENGINE_URL", "nats://localhost"),
    ("ADMIN_PORT", "65536"),
    ("SERVE", "elsewhere"),
    ("PUBLIC_URL", "www.example/photos"),
    ("PUBLIC_URL", "/photos/"),
    ("PUBLIC_URL", "ftp://www.example"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https:///photos"),
    ("PUBLIC_URL", "https://user@www.example"),
    ("PUBLIC_URL", "https://www.example:0/"),
    ("PUBLIC_URL", "https://www.example:65536/"),
    ("PUBLIC_URL", "https://www.example/?a=b"),
    ("PUBLIC_URL", "https://www.example/photos#top"),
    ("PUBLIC_URL", "https://www.example/photos//"),
    ("PUBLIC_URL", "https://www.example/a/%2e%2E/b"),
    ("PUBLIC_URL", "https://www.example/my photos"),
    ("PUBLIC_URL", 'https://www.example/"x'),
    ("PUBLIC_URL", "https://<b>.example/"),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_a_value_that_does_not_fit_is_named_in_one_line(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The variable, what it was set to, and why that will not do; never a traceback."""
    environment.setenv(f"SPILLWAY_{name}", value)
    assert f"SPILLWAY_{name}" in complaint()


def test_every_value_that_does_not_fit_is_named(environment: pytest.MonkeyPatch) -> None:
    """All of them are in one message, so that one start is enough to find them."""
    environment.setenv("SPILLWAY_RATE", "0")
    environment.setenv("SPILLWAY_QUEUE_SIZE", "none")
    line = complaint()
    assert "SPILLWAY_RATE='0'" in line
    assert "SPILLWAY_QUEUE_SIZE='none'" in line


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"store_url": "s4://bucket/prefix"}, "neither file:PATH nor s3://BUCKET/PREFIX"),
        ({"store_url": "s3://b/prefix"}, "neither file:PATH nor s3://BUCKET/PREFIX"),
        ({"engine_url": "redis://localhost:6379"}, "neither local: nor nats://HOST:PORT"),
        ({"workers": 0}, "WORKERS=0 leaves nobody"),
        ({"brownout_low": 0.8}, "BROWNOUT_LOW must be below BROWNOUT_HIGH"),
        ({"port": 9000, "admin_port": 9000}, "ADMIN_PORT and PORT are the same"),
        ({"serve": "redirect"}, "SERVE=redirect needs STORE_URL=s3://BUCKET/PREFIX"),
    ],
)
def test_what_this_version_cannot_do_is_refused_clearly(values: dict[str, object], said: str) -> None:
    """A value that is well written but not supported is an error at the start, never ignored."""
    assert said in complaint(**values)


# --- what does not fit the machine ----------------------------------------------------------------------


def test_the_defaults_fit(environment: pytest.MonkeyPatch) -> None:
    """A machine with memory for its workers has nothing to complain of."""
    environment.setattr(setting_checks, "memory_limit", lambda: None)
    assert warnings_for(load_settings()) == []


def test_workers_beyond_the_container_s_memory_do_not_fit(environment: pytest.MonkeyPatch) -> None:
    """All workers at their limit must fit, else the kernel picks a victim of its own."""
    environment.setattr(setting_checks, "memory_limit", lambda: 4 * GIB)
    environment.setattr(setting_checks, "usable_cpus", lambda: 8)
    assert warnings_for(load_settings(workers=4, worker_memory="1GiB")) == []
    (line,) = warnings_for(load_settings(workers=5, worker_memory="1GiB"))
    assert "WORKERS x WORKER_MEMORY = 5 x 1024 MiB = 5120 MiB, more than the 4096 MiB" in line
    assert "set SPILLWAY_WORKERS=4, or give the container 5120 MiB, or" in line
    assert "SPILLWAY_WORKER_MEMORY=819MiB" in line
    assert warnings_for(load_settings(workers=5, worker_memory="819MiB")) == []
    environment.setattr(setting_checks, "memory_limit", lambda: GIB // 2)
    (line,) = warnings_for(load_settings(workers=1, worker_memory="1GiB"))
    assert "WORKERS=0" not in line


def test_more_workers_than_processors_do_not_fit(environment: pytest.MonkeyPatch) -> None:
    """They would only compete for the same processors."""
    environment.setattr(setting_checks, "memory_limit", lambda: None)
    (line,) = warnings_for(load_settings(workers=usable_cpus() + 1))
    assert "more than the" in line


def test_uploads_that_can_never_be_stored_do_not_fit(environment: pytest.MonkeyPatch) -> None:
    """A share of one client that is larger than everything there is does not fit either."""
    environment.setattr(setting_checks, "memory_limit", lambda: None)
    (line,) = warnings_for(load_settings(max_upload_bytes="2GiB", store_max_bytes="1GiB"))
    assert "MAX_UPLOAD_BYTES is more than STORE_MAX_BYTES" in line
    (line,) = warnings_for(load_settings(queue_size=2, max_receiving=2, client_share=5))
    assert "CLIENT_SHARE" in line


def test_a_shared_engine_with_a_store_of_its_own_does_not_fit(environment: pytest.MonkeyPatch) -> None:
    """One process can use a directory; replicas and workers need a bucket."""
    environment.setattr(setting_checks, "memory_limit", lambda: None)
    servers = "nats://user:secret@10.0.0.5:4222,nats://[fd00::5]:4222,last.example:4222"
    (line,) = warnings_for(load_settings(engine_url=servers, workers=0))
    assert "STORE_URL=file:" in line
    assert warnings_for(load_settings(engine_url=servers, workers=0, store_url="s3://photos")) == []


def test_there_is_a_processor_to_use() -> None:
    """The default number of workers is never none, nor more than this process may use."""
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))


# --- names that are no setting --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SPILLWAY_QUEUE_SZE", "SPILLWAY_QUEUE_SIZE"),
        ("SPILLWAY_TRUSTED_PROXY", "SPILLWAY_TRUSTED_PROXIES"),
        ("spillway_bust", "SPILLWAY_BURST"),
        ("SPILLWAY_STOREURL", "SPILLWAY_STORE_URL"),
    ],
)
def test_a_mistyped_name_is_told_with_the_setting_that_was_meant(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str
) -> None:
    """In the environment and in `.env`; once, if it stands in both."""
    environment.setenv(name, "1")
    assert unknown_names() == [f"{name} is no setting: did you mean {meant}?"]
    (tmp_path / ".env").write_text(f"{name}=2\nexport {name}Q=3\n")
    assert [line.split()[0] for line in unknown_names()] == [name, f"{name}Q"]


def test_a_name_like_no_setting_is_told_too(environment: pytest.MonkeyPatch) -> None:
    """Nothing is guessed; variables of others, and those of the compose files, are left alone."""
    environment.setenv("SPILLWAY_ZZZ", "1")
    environment.setenv("SPILLWAY_MEMORY_LIMIT", "3g")
    environment.setenv("SPILLWAYS", "1")
    environment.setenv("spillway_rate", "1")
    assert unknown_names() == ["SPILLWAY_ZZZ is no setting: `spillway serve --help` lists them"]
