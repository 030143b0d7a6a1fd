"""The commands about one app: describe, open, pause, resume, scale, exec, remove."""

import sys
from contextlib import AsyncExitStack, aclosing
from typing import Annotated

import typer

from deployd.cli import browser, keyboard
from deployd.cli.describe import print_app, print_deploy
from deployd.cli.names import parsed
from deployd.cli.output import AppName, AppOrDeploy, AsJson, err, out, print_json, with_daemon
from deployd.client import Client, TerminalName
from deployd.errors import RequestRefused
from deployd.tasks import beside
from deployd.terminal import Terminal


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd describe iris")(describe)
    app.command("open", epilog="Example: deployd open iris")(open_app)
    app.command(epilog="Example: deployd pause iris")(pause)
    app.command(epilog="Example: deployd resume iris")(resume)
    app.command(epilog="Example: deployd scale iris 3")(scale)
    app.command("exec", epilog="Example: deployd exec -it iris -- sh")(execute)
    app.command(epilog="Example: deployd remove iris")(remove)


def describe(
    name: AppOrDeploy,
    as_json: AsJson = False,
) -> None:
    """Show what runs of an app: its container or pods, addresses and last events. Or all that is known of a deploy."""
    app, number = parsed(name)
    if number is not None:
        deploy = with_daemon(lambda client: client.show(app, number))
        print_json(deploy) if as_json else print_deploy(deploy)
        return
    answer = with_daemon(lambda client: client.describe(app))
    print_json(answer) if as_json else print_app(answer)


def open_app(
    app: AppName,
    no_browser: Annotated[bool, typer.Option("--no-browser", "-n", help="Only print the address.")] = False,
) -> None:
    """Open an app's address in the browser; print it when there is no browser or the output is a pipe."""
    answer = with_daemon(lambda client: client.app(app))
    if not answer.urls:
        raise RequestRefused(
            409, f"{app} has no address of its own", hint="listen or hosts in its [app.gateway] give it one"
        )
    if not no_browser and out().is_interactive and browser.opened(answer.urls[0]):
        err().print(f"opened {answer.urls[0]}", soft_wrap=True)
    else:
        print(answer.urls[0])


def pause(app: AppName) -> None:
    """Make an app's new deploys wait."""
    with_daemon(lambda client: client.pause(app))
    out().print(f"{app} is paused: new deploys wait until `deployd resume {app}`")


def resume(app: AppName) -> None:
    """Take deploys again; of those that wait, the newest wins."""
    with_daemon(lambda client: client.resume(app))
    out().print(f"{app} takes deploys again")


def scale(
    app: AppName, replicas: Annotated[int, typer.Argument(metavar="N", min=0, max=1000, help="The number of pods.")]
) -> None:
    """Set the number of an app's pods (Kubernetes only)."""
    with_daemon(lambda client: client.scale(app, replicas))
    out().print(f"{app} is scaled to {replicas} pod{'' if replicas == 1 else 's'}")


def execute(
    app: AppName,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command and its arguments.")],
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", "--tty", "-t", help="Run it at this terminal, such as a shell.")
    ] = False,
) -> None:
    """Run a command in the live release. Its exit code becomes that of `deployd exec`."""

    async def ask(client: Client) -> int:
        if not interactive:
            return await _run(client, app, command)
        with keyboard.raw() as typed:
            return await _run(client, app, command, typed)

    raise typer.Exit(with_daemon(ask))


async def _run(client: Client, app: str, command: list[str], typed: Terminal | None = None) -> int:
    code = 1
    async with AsyncExitStack() as stack:
        size = keyboard.size() if typed is not None else None
        async for said in await stack.enter_async_context(aclosing(client.execute(app, command, size))):
            if isinstance(said, TerminalName) and typed is not None:
                await stack.enter_async_context(beside(keyboard.pass_on(typed, client, said)))
            elif isinstance(said, int):
                code = said
            else:
                sys.stdout.write(str(said))
                sys.stdout.flush()
    return code


def remove(app: AppName) -> None:
    """Remove an app that is no longer in the config: its containers and images. Its history stays."""
    with_daemon(lambda client: client.remove(app))
    out().print(f"{app} is removed; its history stays")
