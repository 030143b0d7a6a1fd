"""The browser of this desktop, if there is one."""

import os
import sys
import webbrowser

_DESKTOPS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def opened(url: str) -> bool:
    """Open the address in a window; False where there is none: a browser in this terminal would take it from its user."""
    if sys.platform != "darwin" and not any(os.environ.get(name) for name in _DESKTOPS):
        return False
    return webbrowser.open(url)
