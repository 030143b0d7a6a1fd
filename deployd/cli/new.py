"""`deployd new`: make a repository for a model, and print the next steps."""

from pathlib import Path
from typing import Annotated

import typer

from deployd.cli.command import Commands
from deployd.cli.output import err, out
from deployd.starter.repository import BRANCH, Starter, Template, make


def add_to(app: Commands) -> None:
    """Add the command."""
    app.command(
        epilog="Example: deployd new churn --from tabular --repo git@github.com:acme/churn.git && cd churn && make try"
    )(new)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the model and of its directory.")],
    template: Annotated[
        Template,
        typer.Option(
            "--from",
            help="What to start from: iris, flowers by four measures; tabular, customers in columns of several types; text, "
            "messages by their topic; mlflow, the version of a registered model that an alias points to.",
        ),
    ] = "iris",
    address: Annotated[
        str | None,
        typer.Option("--repo", metavar="ADDRESS", help="The empty repository to push to; it can be set later."),
    ] = None,
) -> None:
    """Make a repository for a model of your own: `make try` in it trains and serves, the first push deploys."""
    starter = Starter(name, template, address)
    made = make(starter, Path())
    outer = next((one for one in made.absolute().parents if (one / ".git").exists()), None)
    if outer is not None:
        said = f"{made}/ is a repository inside the one in {outer}, which does not track its files: move it elsewhere."
        err().print(said, style="yellow", soft_wrap=True)
    out().print(f"{made}/ is made, from {template}. Next:\n\n{_next(starter)}", soft_wrap=True, highlight=False)


def _next(starter: Starter) -> str:
    """The next steps, in order."""
    address = starter.address or "ADDRESS"
    remote = [
        ("git remote add origin ADDRESS", "of an empty repository on your forge"),
        ("sed -i 's|^repo = .*|repo = \"ADDRESS\"|' config.toml", "or with an editor"),
    ]
    registry = ("sed -i 's|^registry = .*|registry = \"URL\"|' config.toml", "of your MLflow server")
    from_registry = starter.template == "mlflow"
    serves = "serves a sample" if from_registry else "trains, serves"
    steps = [
        (f"cd {starter.name}", ""),
        ("make try", f"{serves}, and says where the page is"),
        *([] if starter.address else remote),
        *([registry] if from_registry else []),
        ('git add . && git commit -m "First model"', ""),
        (f"git push -u origin {BRANCH}", f"to {address}" if starter.address else ""),
        ("export DEPLOYD_WEBHOOK_SECRET=$(openssl rand -hex 32)", "the secret of the webhook"),
        ("deployd check", "says what is missing"),
        ("deployd run", "deploys what was pushed, on port 8000, and every push from then on"),
    ]
    wide = max(len(step) for step, _ in steps)
    return "\n".join(f"  {step:<{wide}}  {f'# {why}' if why else ''}".rstrip() for step, why in steps)
