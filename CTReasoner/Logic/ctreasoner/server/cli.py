"""`ctreasoner serve`: the server, and the tokens of its users."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ..archiving import Authority, Certificate, PasswordFile, Title, TokenFile, User
from ..errors import CTReasonerError, UsageError
from .settings import PORT, Limits, Settings

app = typer.Typer(
    name="ctreasoner serve",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)
tokens = typer.Typer(no_args_is_help=True, help="Tokens of those who may use the server. Only hashes are kept.")
app.add_typer(tokens, name="token")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="CTREASONER_DATA",
        help="Where CTs, answers and tokens are kept; default: ~/.local/share/ctreasoner.",
    ),
]


@app.callback()
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but loopback needs tokens, and TLS or --behind-proxy.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = PORT,
    data: Data = None,
    model: Annotated[str, typer.Option(metavar="NAME|FOLDER", help="A model that ships, or the folder of another.")] = "compact",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the engine.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM private key.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy in front encrypts; tokens are then always needed.")
    ] = False,
    retention: Annotated[
        float, typer.Option(min=0.01, metavar="HOURS", help="CTs and answers go so long after their last use.")
    ] = Limits.retention_h,
    archive: Annotated[
        str, typer.Option(metavar="SERVER", help="A PACS from which users may have series fetched: https://HOST/dicom-web, or dicom[s]://...")
    ] = "",
    user: User = None,
    password_file: PasswordFile = None,
    token_file: TokenFile = None,
    ca: Authority = None,
    cert: Certificate = None,
    aet: Title = "CTREASONER",
) -> None:
    """Answer questions about CTs over HTTP, until stopped. SIGTERM lets the running answer end."""
    if context.invoked_subcommand is not None:
        return
    access = {
        "user": user,
        "password_file": password_file,
        "token_file": token_file,
        "ca": ca,
        "certificate": cert,
        "calling": aet,
    }
    worker = ("--model", model, *(("--threads", str(threads)) if threads else ()))
    run(
        Settings(
            data=folder(data),
            host=host,
            port=port,
            tls_cert=tls_cert,
            tls_key=tls_key,
            behind_proxy=behind_proxy,
            worker=worker,
            archive=archive,
            access=access,
            limits=Limits(retention_h=retention),
        )
    )


@tokens.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whose it is; shown by list, and nowhere else.")],
    data: Data = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="For Prometheus: may read /metrics and nothing else.")] = False,
) -> None:
    """Print a new token. It cannot be shown again."""
    typer.echo(_store(data).add_token(name, "metrics" if metrics else "user"))


@tokens.command("list")
def list_(data: Data = None) -> None:
    """List names, roles and dates."""
    for row in _store(data).all("SELECT * FROM token ORDER BY made"):
        typer.echo(f"{row['name']}\t{row['role']}\t{datetime.fromtimestamp(row['made']).date()}\tuser {row['user']}")


@tokens.command("revoke")
def revoke(name: str, data: Data = None) -> None:
    """Take a token back, at once. The user's CTs go by retention."""
    _store(data).revoke_token(name)


def _store(data: Path | None):
    from .store import Store

    return Store(folder(data))


def folder(data: Path | None) -> Path:
    """Return the folder of the data: the one that was named, or the user's own."""
    return Path(data) if data else Path.home() / ".local" / "share" / "ctreasoner"


def run(settings: Settings) -> None:
    """Serve until stopped. Raises CTReasonerError where the server cannot be started."""
    try:
        import uvicorn

        from .app import build
    except ImportError as error:
        raise UsageError(
            f"The server needs the package {error.name}.", code="CTR-SRV-021", hint="pip install 'ctreasoner[engine,server]'"
        ) from error
    from .journal import set_up_logging

    set_up_logging()
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    application = build(settings)
    server = application.state.server

    class Draining(uvicorn.Server):
        """Refuses new questions from the signal on; the lifespan's end waits for what is being answered."""

        def handle_exit(self, sig: int, frame: object) -> None:
            server.start_draining()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        limit_concurrency=512,
        timeout_graceful_shutdown=int(settings.limits.drain_s) + 5,
    )
    uvicorn_server = Draining(config)
    uvicorn_server.run()
    if not uvicorn_server.started:
        raise CTReasonerError(
            f"The server could not listen on {settings.host}:{settings.port}.",
            code="CTR-SRV-022",
            hint="Choose another port with --port; the log says more.",
        )


def main(arguments: list[str]) -> int | None:
    """Run the verb's part of the command line; errors are the caller's."""
    return app(arguments, standalone_mode=False, prog_name="ctreasoner serve")
