"""`deployd token`: tokens for the API. A token is shown once; the config holds only its SHA-256."""

import hashlib
import secrets
from typing import Annotated, Literal

import typer

from deployd.cli.command import Commands
from deployd.cli.local import ConfigPath
from deployd.cli.output import AsJson, err, print_json
from deployd.cli.tables import print_table
from deployd.config.daemon import Auth, Token
from deployd.config.file import default_path, load, parse

app = Commands(no_args_is_help=True, help="Tokens for the API.", rich_markup_mode=None)

_BYTES = 32


@app.command(epilog="Example: deployd token new ci --role deploy")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets it: lower-case letters, digits and hyphens.")],
    role: Annotated[Literal["read", "deploy", "admin"], typer.Option(help="What it allows.")] = "read",
) -> None:
    """Make a token, and print it with the lines for config.toml."""
    token = secrets.token_urlsafe(_BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    parse({"auth": {"tokens": [{"name": name, "role": role, "sha256": digest}]}}, "token")
    made = Token(name=name, role=role, sha256=digest)
    typer.echo(token)
    err().print(
        "Keep the token: it is not shown again. Put these lines into config.toml, then run `deployd reload`:",
        style="bold",
    )
    typer.echo(f'\n[[auth.tokens]]\nname = "{made.name}"\nrole = "{made.role}"\nsha256 = "{made.sha256}"', err=True)


@app.command("list", epilog="Example: deployd token list")
def list_tokens(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the tokens in config.toml, with what each allows."""
    tokens = load(config or default_path()).auth.tokens
    if as_json:
        print_json(Auth(tokens=tokens))
        return
    if not tokens:
        err().print("the config has no tokens; deployd token new NAME makes one")
        return
    print_table(("NAME", "ROLE", "SHA256"), [(token.name, token.role, f"{token.sha256[:12]}…") for token in tokens])
