"""`deployd`, and `python -m deployd`.

The daemon is started without the command line's libraries: they would stay in its memory for as long as it runs.
"""

import gc
import sys


def main() -> None:
    """Run the command that the arguments name; does not return."""
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # its command line would load two more libraries
    gc.disable()  # until all is loaded: it would look through the libraries again and again, and find nothing
    if sys.argv[1:2] == ["run"]:
        from deployd.serve import serve  # noqa: PLC0415 - see above

        sys.exit(serve(sys.argv[2:]))
    from deployd.cli.app import run  # noqa: PLC0415 - see above

    gc.enable()
    run()


if __name__ == "__main__":
    main()
