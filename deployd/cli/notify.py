"""`deployd notify`: the messages to people."""

import typer

from deployd.cli.command import Commands
from deployd.cli.output import AsJson, err, out, print_json, with_daemon
from deployd.exits import FAILED

app = Commands(no_args_is_help=True, help="Messages to people.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keeps `test` a word of its own: Typer runs a single command without its name."""


@app.command("test", epilog="Example: deployd notify test")
def send_test(as_json: AsJson = False) -> None:
    """Let the daemon send a message to every URL of [notify] now. Exits 1 when one of them does not take it."""
    answer = with_daemon(lambda client: client.notify_test())
    if as_json:
        print_json(answer)
    elif not answer.sent:
        err().print("nobody is notified: [notify] has no urls; docs/notifications.md says how to add one")
    else:
        for one in answer.sent:
            out().print(f"{one.url}: {one.trouble or 'sent'}", style="red" if one.trouble else "")
    if any(one.trouble for one in answer.sent):
        raise typer.Exit(FAILED)
