"""Other Pythons for the model service than that of Debian 12: in /usr/local, as in the official images, and Debian 13's 3.13.

`python -m tests.testbed.pythons` makes what is missing, and prints the names of the images.
"""

from deployd.bringup import engine, images
from deployd.bringup.api import EngineApi
from deployd.bringup.engine import Engine
from deployd.bringup.images import PYTHON, make_python
from deployd.bringup.progress import Progress

USR_LOCAL = "deployd-testbed/python:usr-local"
TRIXIE = "deployd-testbed/python:trixie"

# Python finds its library beside its program. Where the official image is, it is as wanted.
_USR_LOCAL = f"""FROM {PYTHON}
RUN [ -e /usr/local/lib/python3.11/os.py ] || {{ rm /usr/local/bin/python \\
    && cp -a /usr/bin/python3.11 /usr/local/bin/ && cp -a /usr/lib/python3.11 /usr/local/lib/ \\
    && ln -s python3.11 /usr/local/bin/python3 && ln -s python3 /usr/local/bin/python \\
    && rm -rf /usr/bin/python3* /usr/lib/python3*; }}
RUN python3 -c "import sys, ssl, sqlite3, ctypes; assert sys.prefix == '/usr/local', sys.prefix"
"""


def ensure(found: Engine, progress: Progress) -> tuple[str, ...]:
    """Make them where they are missing; their names. Unavailable where that is not possible."""
    images.ensure(found, progress)
    api = found.api(timeout=900)
    if not images.present(api, USR_LOCAL):
        _make_usr_local(api, progress)
    if not images.present(api, TRIXIE):
        make_python(api, TRIXIE, "trixie", progress)
    return (USR_LOCAL, TRIXIE)


def _make_usr_local(api: EngineApi, progress: Progress) -> None:
    with progress.step(f"making {USR_LOCAL} from {PYTHON}"):
        images.build(api, USR_LOCAL, _USR_LOCAL, {})


if __name__ == "__main__":
    progress = Progress()
    print(*ensure(engine.ensure(progress), progress))
