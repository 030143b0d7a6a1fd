"""Loads all that a running daemon has loaded, for the process that daemons of the tests are forked from; starts no thread."""

import gc
import sys
from importlib import import_module

sys.modules["httpx._main"] = None  # type: ignore[assignment]  # as deployd does
gc.disable()
for _module in ("deployd.serve", "uvicorn.lifespan.off"):
    import_module(_module)
gc.collect()
gc.freeze()
