"""Every setting of the service: its name, default, bounds and meaning. All are checked once, at the start."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.runtime.cgroup import usable_cpus
from app.setting_values import (
    Colour,
    HostName,
    Lifetime,
    Network,
    Origin,
    PublicUrl,
    Seconds,
    Size,
    WebhookEvent,
    WebhookSecrets,
    WebhookUrl,
    separated,
)
from app.upload_keys import UploadKey, parse_upload_keys
from workers.variants import GRAMMAR, Variant, parse_variants

PREFIX = "SPILLWAY_"
"""What the variable of every setting begins with."""
_SECRET = ("upload_keys", "webhook_secret")
"""Settings whose values are shown nowhere."""


class SettingsError(Exception):
    """Raised when settings are not valid. Its message is one line that names each of them."""


class Settings(BaseSettings):
    """The settings, read from environment variables and then from the file `.env`.

    An attribute's variable is its name in capitals after `SPILLWAY_`: `SPILLWAY_QUEUE_SIZE` for `queue_size`.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="address to listen on (the container listens on all)")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")

    rate: float = Field(2, ge=0.001, le=100_000, description="tokens per second, per client")
    burst: int = Field(10, ge=1, le=1_000_000, description="size of a client's bucket")
    limiter: Literal["token_bucket", "leaky_bucket"] = Field(
        "token_bucket", description="or leaky_bucket: one request per 1/RATE, early ones held"
    )
    max_delay: Seconds = Field(
        2, ge=0, le=60, description="longest time that the leaky bucket holds a request, seconds"
    )
    ipv6_prefix: int = Field(64, ge=16, le=128, description="bits of an IPv6 address that make one client")
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, BeforeValidator(separated)] = Field(
        (), description="addresses or networks whose X-Forwarded-For or Forwarded is believed"
    )
    max_clients: int = Field(
        100_000, ge=1, le=10_000_000, description="most clients whose buckets are kept in memory"
    )

    queue_size: int = Field(100, ge=1, le=100_000, description="waiting jobs")
    max_receiving: int = Field(
        0, ge=0, le=200_000, description="receiving slots, for uploads on their way in (2 x QUEUE_SIZE)"
    )
    max_wait: Seconds = Field(
        60, gt=0, le=86_400, description="estimated wait past which the queue counts as full, seconds"
    )
    client_share: int = Field(20, ge=1, le=200_000, description="receiving and waiting jobs of one client")

    workers: int = Field(
        default_factory=usable_cpus,
        ge=0,
        le=256,
        description="worker processes that make variants (usable CPUs)",
    )
    variants: Annotated[tuple[Variant, ...], NoDecode] = Field(
        parse_variants("large=1600,medium=800,small=320,thumb=96"),
        validate_default=False,
        description=f"{GRAMMAR}, comma separated",
    )
    background: Colour = Field(
        "white", description="#rrggbb or a CSS name: what shows through transparency where a format has none"
    )
    blurhash: bool = Field(False, description="a BlurHash of each image in its document")
    max_upload_bytes: Size = Field(ByteSize(32 * 2**20), ge=1, le=2**40, description="bytes of one file")
    max_pixels: int = Field(
        100_000_000, ge=1, le=2**40, description="pixels of one image, all decoded frames together"
    )
    job_timeout: Seconds = Field(30, ge=0.1, le=3600, description="seconds after which a job is ended")
    worker_memory: Size = Field(
        ByteSize(2**30), ge=16 * 2**20, description="bytes of memory past which a job is ended"
    )
    truncated: Literal["refuse", "accept"] = Field(
        "refuse", description="or accept: a cut-off image is made into variants of what is there"
    )
    upload_timeout: Seconds = Field(120, ge=0.1, le=86_400, description="longest upload, seconds")
    min_upload_rate: Size = Field(
        ByteSize(8 * 2**10), ge=0, description="bytes per second, after a short grace"
    )

    on_full: Literal["reject", "degrade"] = Field(
        "reject", description="what a full queue answers; or degrade: a preview with 200"
    )
    brownout: Literal["on", "decoded", "off"] = Field(
        "on",
        description="fewer variants at first when the queue fills; or decoded, or off",
    )
    brownout_high: float = Field(0.75, gt=0, le=1, description="share of the queue where brownout begins")
    brownout_low: float = Field(0.25, ge=0, lt=1, description="share of the queue where it ends")
    deferred_size: int = Field(1000, ge=1, le=1_000_000, description="most jobs with deferred variants")

    store_url: str = Field("file:./data", description="file:PATH or s3://BUCKET/PREFIX")
    retention: Lifetime = Field(86_400, ge=1, description="how long images live, seconds; inf: for good")
    keep_original: bool = Field(
        False, description="uploads stay in the store as they came, for their owners alone"
    )
    store_max_bytes: Size = Field(
        ByteSize(10 * 2**30), ge=1, description="bytes on disk past which uploads get 507"
    )
    engine_url: str = Field(
        "local:", description="local: (queue and workers of this process) or nats://HOST:PORT (JetStream)"
    )

    public_url: PublicUrl = Field(
        "", description="what every link begins with, behind a proxy's path or a CDN: https://HOST/PATH"
    )
    serve: Literal["proxy", "redirect"] = Field(
        "proxy", description="or redirect: with s3://, bytes come from signed addresses of the bucket"
    )
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port of metrics, statistics and the whole page, which PORT then has not",
    )
    admin_host: str = Field("127.0.0.1", description="address that ADMIN_PORT listens on")

    upload_keys: Annotated[tuple[UploadKey, ...], NoDecode, BeforeValidator(parse_upload_keys)] = Field(
        (),
        description="keys of those who may upload: NAME:SECRET or NAME:@/path/to/jwks.json, comma separated",
    )
    webhook_url: WebhookUrl = Field("", description="where events are posted")
    webhook_secret: WebhookSecrets = Field(
        "",
        repr=False,
        description="whsec_… that signs them; several, separated by spaces, while one is replaced",
    )
    webhook_events: Annotated[tuple[WebhookEvent, ...], NoDecode, BeforeValidator(separated)] = Field(
        ("image.done", "image.failed"), description="which events are posted"
    )

    max_hold: Seconds = Field(60, ge=0, le=3600, description="longest Prefer: wait, seconds")
    max_streams: int = Field(1000, ge=1, le=100_000, description="event streams and waits at once")
    drain_timeout: Seconds = Field(20, ge=0, le=3600, description="longest drain at shutdown, seconds")
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(separated)] = Field(
        (), description="origins that may call from a browser; * for any"
    )
    allowed_hosts: Annotated[tuple[HostName, ...], NoDecode, BeforeValidator(separated)] = Field(
        (), description="hosts that are served, as the Host field names them, *. before one for all below it"
    )
    log_format: Literal["text", "json"] = Field("text", description="or json, one object a line")
    demo: bool = Field(False, description="pressure buttons on the page and their endpoints")

    @field_validator("variants", mode="before")
    @classmethod
    def _parse_variants(cls, value: Any) -> Any:
        return parse_variants(value) if isinstance(value, str) else value

    @field_validator("engine_url")
    @classmethod
    def _known_engine(cls, value: str) -> str:
        server = r"([^@/,\s]+@)?(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}"
        if value == "local:" or re.fullmatch(rf"nats://{server}(,(nats://)?{server})*", value):
            return value
        raise ValueError("neither local: nor nats://HOST:PORT[,HOST:PORT]")

    @field_validator("store_url")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value.startswith("file:") and value.removeprefix("file:").removeprefix("//"):
            return value
        if re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w!.*'()/-]*)?", value, re.ASCII):
            return value
        raise ValueError("neither file:PATH nor s3://BUCKET/PREFIX")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.max_receiving:
            object.__setattr__(self, "max_receiving", 2 * self.queue_size)
        if self.admin_port and self.admin_port == self.port:
            raise ValueError("ADMIN_PORT and PORT are the same")
        if self.serve == "redirect" and not self.store_url.startswith("s3:"):
            raise ValueError("SERVE=redirect needs STORE_URL=s3://BUCKET/PREFIX: a folder has no addresses")
        if self.brownout_low >= self.brownout_high:
            raise ValueError("BROWNOUT_LOW must be below BROWNOUT_HIGH")
        if self.workers == 0 and self.engine_url == "local:":
            raise ValueError("WORKERS=0 leaves nobody to do the work of a local: engine")
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("WEBHOOK_URL needs WEBHOOK_SECRET, by which the receiver knows who posts")
        if self.webhook_secret and not self.webhook_url:
            raise ValueError("WEBHOOK_SECRET signs nothing without WEBHOOK_URL")
        return self


def load_settings(**overrides: Any) -> Settings:
    """Read and check the settings; `overrides` (by attribute name) win over the environment.

    Raises:
        SettingsError: at least one setting is not valid.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_one_line, error.errors()))) from None


def _one_line(error: Any) -> str:
    name = f"SPILLWAY_{str(error['loc'][0]).upper()}" if error["loc"] else "settings"
    reason = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    is_secret = error["loc"] and error["loc"][0] in _SECRET
    # Before an @ is a password, behind a question mark a token.
    if is_secret or (isinstance(given, str) and re.search(r"[@?]", given)):
        return f"{name}: {reason}"
    return f"{name}={given!r}: {reason}" if isinstance(given, str | int | float) else f"{name}: {reason}"


def redact(url: str) -> str:
    """A URL without what may be secret in it, to be shown: user and password, or a token, and the query."""
    return re.sub(r"\?.+", "?***", re.sub(r"[^@/,\s]+@", "***@", url))
