"""`deployd token`: tokens for the API. The token is shown once; the config holds only its SHA-256."""

import hashlib
import secrets
from typing import Annotated, Literal

import typer

from deployd.cli.speaking import aside
from deployd.config.daemon import Token
from deployd.config.file import parse

app = typer.Typer(no_args_is_help=True, help="Tokens for the API.", rich_markup_mode=None)

_BYTES = 32


@app.callback()
def _token() -> None:
    """Keeps `new` a command of its own."""


@app.command(epilog="Example: deployd token new ci --role deploy")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: a DNS label.")],
    role: Annotated[Literal["read", "deploy", "admin"], typer.Option(help="What it may do.")] = "read",
) -> None:
    """Make a token: it is printed, and the lines that belong into config.toml."""
    token = secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    parse({"auth": {"tokens": [{"name": name, "role": role, "sha256": digest}]}}, "token")
    made = Token(name=name, role=role, sha256=digest)
    typer.echo(token)
    aside().print("Keep it: it is not shown again. Into config.toml, then `deployd reload`:", style="bold")
    typer.echo(f'\n[[auth.tokens]]\nname = "{made.name}"\nrole = "{made.role}"\nsha256 = "{made.sha256}"', err=True)
