"""The command `spillway webhook-receiver`."""

from typing import Annotated

import typer

from app.runtime.failure import fail


def webhook_receiver(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 9000,
    secret: Annotated[
        str, typer.Option(envvar="SPILLWAY_WEBHOOK_SECRET", show_envvar=True, help="That of the service.")
    ] = "",
) -> None:
    """Check the webhooks that arrive, and print each on a line: to try them, not to run a business on."""
    from app.setting_values import webhook_secrets
    from app.webhooks.receiver import serve

    try:
        secrets = webhook_secrets(secret)
        if not secrets:
            raise ValueError("SPILLWAY_WEBHOOK_SECRET is needed, that of the service")
        serve(host, port, secrets)
    except (ValueError, OSError) as error:
        fail(error)
