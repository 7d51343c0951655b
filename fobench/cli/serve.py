"""`fobench serve`: a system as a live server, and a page to talk to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import click

from fobench.api.option_ranges import Between
from fobench.cli.options import NumberIn, named_args, option, whole_number

PORT = Between(0, 65_535)
SESSIONS = Between(1, 1_000)
MINUTES = Between(0.1, 1_440.0)
IDLE_S = Between(1.0, 86_400.0)


@click.command()
@option("--system", help="System to serve; default: Freeze-Omni, with a checkpoint for the backbone or for any.")
@named_args("--system-args", "system")
@option("--backbone", help="Frozen LLM inside the system; default: the system's own.")
@option("--checkpoint", help="Weights of the system: a name (fobench ls checkpoints) or a path.")
@option("--device", help="cpu, cuda, cuda:1, ...; default: the best available.")
@option("--host", default="127.0.0.1", help="Address to bind to; 0.0.0.0: reachable from other machines.")
@option("--port", type=whole_number(PORT), default=8765, help="Port; 0: any free one.")
@option("--sessions", type=whole_number(SESSIONS), default=4, help="Conversations at a time; more are refused.")
@option("--minutes", type=NumberIn(MINUTES), default=30.0, help="Longest conversation, minutes.")
@option(
    "--idle",
    "idle_s",
    type=NumberIn(IDLE_S),
    default=120.0,
    help="End a conversation after so many seconds without a message.",
)
@option("--api-key-env", metavar="NAME", help="Environment variable with the key that clients must bring.")
@option("--origin", "origins", multiple=True, help="Origin of another web page that may connect; repeatable.")
@option(
    "--warm-up/--no-warm-up",
    default=True,
    help="Hold one conversation before clients are let in; without it, the first reply is slow.",
)
def serve(
    host: str, port: int, api_key_env: str | None, origins: tuple[str, ...], warm_up: bool, **options: Any
) -> None:
    """Serve a system to live clients, and a page to talk to it.

    ws://HOST:PORT/v1/realtime is the OpenAI Realtime protocol, ws://HOST:PORT/pcm raw audio, http://HOST:PORT the page, with
    your microphone. /health is for load balancers, /metrics for Prometheus. On SIGTERM or Ctrl-C replies have 5 s to end.
    Limits, security and metrics: docs/serve.md.
    """
    from fobench.api import registry
    from fobench.api.secret import secret
    from fobench.execution.system_driver import checked
    from fobench.server import questions
    from fobench.server.app import Limits, Server
    from fobench.storage.run_config import default_system

    key = secret(api_key_env)
    limits = Limits(*(options.pop(name) for name in ("sessions", "minutes", "idle_s")))
    name, given = options.pop("system"), dict(options.pop("system_args") or {})
    name = name or default_system(options["backbone"], options["checkpoint"])
    click.echo(f"Loading {name} ...", err=True)
    spec = registry.spec("systems", name, _options(given, options))
    system, shipped = checked(name, registry.create(spec)), questions.shipped()
    rehearsal = shipped[0] if warm_up and shipped else None
    if rehearsal:
        click.echo("Warming up ...", err=True)
    server = Server(system, name, host, port, key, origins, limits, questions.playable(shipped), rehearsal)
    asyncio.run(server.run(_tell))


def _options(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return {**given, **{name: value for name, value in options.items() if value is not None}}


def _tell(url: str) -> None:
    socket = url.replace("http", "ws", 1)
    click.echo(f"Talk to it at {url}\nClients connect to {socket}/v1/realtime, or {socket}/pcm (Ctrl-C ends)", err=True)
