"""`deployd golden`: make golden files, try them by hand, and print their format."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from deployd.cli.command import Commands
from deployd.cli.output import AsJson, out
from deployd.exits import FAILED
from deployd.wording import counted

app = Commands(help="Make golden files, try them, and print their format.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="Example: deployd golden schema > golden.schema.json")
def schema() -> None:
    """Print the JSON Schema of golden files."""
    from deployd.gates.golden_file import schema as made  # noqa: PLC0415 - the parts of the daemon are large

    print(json.dumps(made(), indent=2))


@app.command(
    epilog="Example: deployd golden record http://127.0.0.1:8000/predict --requests requests.jsonl -o golden.json"
)
def record(
    url: Annotated[str, typer.Argument(metavar="URL", help="The route of a service that runs and answers right.")],
    requests: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="What to send: a JSON body on each line, or a golden file to record again; - for standard input.",
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; default: print it.")] = None,
    method: Annotated[str, typer.Option(help="The method of the requests.")] = "POST",
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="What may have any value, such as '$.id'; repeatable.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="How much numbers may differ.")] = 1e-6,
) -> None:
    """Make a golden file from the answers of a service. Each request is sent twice; the two answers must be equal."""
    from deployd.gates.record import Wish, requests_of, split  # noqa: PLC0415 - the same
    from deployd.gates.record import record as made  # noqa: PLC0415

    content = sys.stdin.buffer.read() if str(requests) == "-" else requests.read_bytes()
    asked = requests_of(content, str(requests), method, split(url)[1])
    document = asyncio.run(made(Wish(url, method, tuple(ignore or ()), tolerance), asked))
    text = json.dumps(document, indent=1) + "\n"
    if output is None:
        print(text, end="")
    else:
        output.write_text(text)
        out().print(f"{output}: {counted(len(document['cases']), 'case')} of {document['url']}", soft_wrap=True)


@app.command("try", epilog="Example: deployd golden try golden.json http://127.0.0.1:8000")
def try_it(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A golden file.")],
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="The address of a service; a route in it replaces that of the file."),
    ],
    as_json: AsJson = False,
) -> None:
    """Ask a service that runs the cases of a golden file, as the gate does. Exits 0 when all answers are right, else 1."""
    from deployd.gates.golden import told  # noqa: PLC0415
    from deployd.gates.record import tried  # noqa: PLC0415 - the same

    result = asyncio.run(tried(file.read_bytes(), str(file), url))
    passed = result.verdict == "passed"
    if as_json:
        figures = {
            "verdict": result.verdict,
            "detail": result.detail,
            "figures": dict(result.figures),
            "rows": list(result.rows),
        }
        print(json.dumps(figures, indent=2))
    else:
        out().print(Text("✓ " if passed else "✗ ", "green" if passed else "red") + Text(result.detail), soft_wrap=True)
        for row in result.rows:
            out().print(f"  {told(row, result.figures['cases'])}", soft_wrap=True)
    if not passed:
        raise typer.Exit(FAILED)
