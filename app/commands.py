"""The commands of `spillway`. What each needs is imported when it runs."""

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.runtime.failure import fail
from app.runtime.signals import end_at_signals, interrupt_at_signals
from app.size_command import size
from app.ticket_command import ticket
from app.webhooks.command import webhook_receiver

if TYPE_CHECKING:
    from app.settings import Settings

cli = typer.Typer(
    name="spillway",
    help="An image-upload service that stays alive whatever is thrown at it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _settings_help() -> str:
    from app.settings import Settings

    rows = ["Settings, each an environment variable SPILLWAY_NAME or a line of .env:", "", "\b"]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        rows.append(f"{name.upper():17} {field.description}")
        rows.append(f"{'':17} [{_shown(name, default)}]")
    return "\n".join(rows)


def _shown(name: str, value: Any) -> str:
    """A setting's value as it would be written in the environment, but for passwords."""
    from app.settings import redact

    if name in ("engine_url", "webhook_url"):
        return redact(value)
    if name == "webhook_secret":
        return "***" if value else ""
    if name == "variants":
        return ",".join(variant.spec for variant in value)
    if name == "max_receiving" and not value:
        return "2 x QUEUE_SIZE"
    if name in _SIZES:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


_SIZES = {"max_upload_bytes", "worker_memory", "min_upload_rate", "store_max_bytes"}


def _prepare(**given: Any) -> "Settings":
    """The settings of a process that is to run; from here on its lines have the format that they name.

    What does not suit them is a warning each. What cannot work ends the process.
    """
    from app.runtime import logs
    from app.setting_checks import (
        SHARED_ENGINE_NEEDS_BUCKET,
        log_format,
        needs_bucket,
        unknown_names,
        warnings_for,
    )
    from app.settings import SettingsError, load_settings

    logs.configure(log_format())
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        fail(error)
    if needs_bucket(settings):
        fail(SHARED_ENGINE_NEEDS_BUCKET)
    for misfit in (*unknown_names(), *warnings_for(settings)):
        logs.complain(misfit, "warning")
    return settings


def _show_version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        print(f"spillway {__version__}")
        raise typer.Exit


@cli.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """An image-upload service that stays alive whatever is thrown at it."""


Host = Annotated[str | None, typer.Option(help="Listen here instead of SPILLWAY_HOST.")]
Port = Annotated[int | None, typer.Option(help="Listen on this port instead of SPILLWAY_PORT.")]


def serve(host: Host = None, port: Port = None) -> None:
    """Start the service and serve until SIGTERM or SIGINT, then drain."""
    gc.disable()  # of what is made until it runs nothing is garbage
    given = {"host": host, "port": port}
    settings = _prepare(**{name: value for name, value in given.items() if value is not None})
    import uvloop

    from app.engine.interface import EngineUnusable
    from app.engine.worker_pool import PoolNotStarted
    from app.main import create_app
    from app.server.listener import AddressTaken, listen
    from app.server.uvicorn_server import Outside, Port, Server
    from app.storage.interface import StoreUnusable

    try:
        listener = listen(settings.host, settings.port)
        admin_port = settings.admin_port
        admin_listener = None if admin_port is None else listen(settings.admin_host, admin_port)
        app = create_app(settings, serves_while_starting=True)
        admin = None
        if admin_listener is not None:
            admin_app = app.state.admin_app
            admin = Port(admin_app, admin_listener, admin_app.state.hooks)
        server = Server(
            Port(app, listener, app.state.hooks),
            admin=admin,
            max_upload_bytes=settings.max_upload_bytes,
            outside=Outside(_published_port(), settings.public_url),
        )
        gc.freeze()
        gc.enable()
        uvloop.run(server.serve())
        end_at_signals(0)  # Python itself takes a while to end
    except (AddressTaken, StoreUnusable, PoolNotStarted, EngineUnusable) as error:
        fail(error)


def _published_port() -> int | None:
    """The port on the machine outside, where a compose file tells it."""
    given = os.environ.get("SPILLWAY_PUBLISHED_PORT", "")
    return int(given) if given.isdecimal() else None


def worker() -> None:
    """Do jobs of the queue that ENGINE_URL names, without HTTP, until SIGTERM or SIGINT; then finish them."""
    settings = _prepare()
    if settings.engine_url == "local:" or not settings.workers:
        fail("a worker needs SPILLWAY_ENGINE_URL=nats://HOST:PORT and at least one of SPILLWAY_WORKERS")
    import uvloop

    from app.cluster.worker import run_worker
    from app.engine.interface import EngineUnusable
    from app.engine.worker_pool import PoolNotStarted
    from app.factory import make_job_defaults, make_store
    from app.storage.interface import StoreUnusable

    try:
        uvloop.run(run_worker(settings, make_job_defaults(settings), make_store(settings)))
        end_at_signals(0)
    except (StoreUnusable, PoolNotStarted, EngineUnusable) as error:
        fail(error)


def check() -> None:
    """Show the settings that would be used, what does not fit, and whether store and receiver are found."""
    import asyncio

    from app.factory import make_store
    from app.setting_checks import describe, unknown_names, warnings_for
    from app.settings import Settings, SettingsError, load_settings
    from app.storage.interface import StoreUnusable

    interrupt_at_signals()
    try:
        settings = load_settings()
    except SettingsError as error:
        fail(error)
    for name in Settings.model_fields:
        print(f"SPILLWAY_{name.upper()}={_shown(name, getattr(settings, name))}")
    for variant in settings.variants:
        print(f"makes {describe(variant)}", file=sys.stderr)
    found = [*unknown_names(), *warnings_for(settings)]
    try:
        store = make_store(settings)
        print(asyncio.run(store.check()), file=sys.stderr)
        if settings.serve == "redirect" and store.signer is not None:
            print(f"images are fetched from {store.signer.origin()}", file=sys.stderr)
    except StoreUnusable as error:
        found.append(str(error))
    if settings.webhook_url:
        from app.webhooks.delivery import SendFailed
        from app.webhooks.sender import find_receiver

        try:
            print(asyncio.run(find_receiver(settings.webhook_url)), file=sys.stderr)
        except SendFailed as error:
            found.append(f"webhooks cannot be delivered: {error}")
    for misfit in found:
        print(f"does not fit: {misfit}", file=sys.stderr)
    if found:
        raise typer.Exit(1)


def stampede(  # size: each parameter is an option of the command
    url: Annotated[str, typer.Argument(help="Where a Spillway of your own listens: http://127.0.0.1:8000")],
    act: Annotated[
        list[str] | None,
        typer.Option(help="Only this act, may be repeated: bully, crowd, patient, impatient, lenient, slow."),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.1, max=1000, help="Uploads a second of a crowd [five times what the server can do]."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=60, help="How long clients arrive in each act.")] = 4,
    photo: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Upload this instead of one made here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON on standard output.")] = False,
    together: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder shared by stampedes that print one table."),
    ] = None,
    beside: Annotated[
        str | None, typer.Option(hidden=True, help="Another service, to which a crowd uploads as well.")
    ] = None,
) -> None:
    """Let a flood loose on a server of your own, in acts, and see what is sent, answered, promised and kept.

    Only loopback and private addresses. Exits with 0 when nothing was lost, 1 when something was.
    """
    from app.stampede.acts import ACTS, Pressure
    from app.stampede.runner import run
    from app.stampede.target import BadTarget, resolve

    interrupt_at_signals()
    names = act or []
    known = [each.name for each in ACTS]
    unknown = [name for name in names if name not in known]
    if unknown:
        fail(f"there is no act {unknown[0]!r}; there are {', '.join(known)}")
    try:
        other = None if beside is None else resolve(beside)[0]
        pressure = Pressure(seconds, rate, other)
        status = run(url, names, pressure, photo, as_json=as_json, together=together)
    except (BadTarget, OSError) as error:
        fail(error)
    raise typer.Exit(status)


def put(
    paths: Annotated[list[Path], typer.Argument(help="Photos, or folders with photos.")],
    to: Annotated[str, typer.Option(help="Where the service is.")] = "http://127.0.0.1:8000",
    variants: Annotated[str, typer.Option(help="Names of the variants to make, by commas [all].")] = "",
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Uploads at once.")] = 4,
    ticket: Annotated[str | None, typer.Option(help="The ticket, where the service asks for one.")] = None,
    patience: Annotated[float, typer.Option(min=1, help="Longest wait for a place, seconds.")] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="A document for each photo, on a line.")] = False,
) -> None:
    """Upload photos, wait for their variants, and print the address of each.

    Comes back when it is told to, and sends nothing twice. Exits with 1 when a photo could not be uploaded.
    """
    from spillway_client.command import Put, put

    interrupt_at_signals()
    names = [name for name in variants.split(",") if name]
    raise typer.Exit(put(Put(to, paths, names, concurrency, ticket, patience, as_json)))


def with_subcommands() -> typer.Typer:
    """`cli` with all that it can do. The settings are listed only where help is asked for."""
    cli.command(epilog=_settings_help() if "--help" in sys.argv else None)(serve)
    for command in (check, put, size, stampede, ticket, webhook_receiver, worker):
        cli.command()(command)
    return cli
