"""Undoes `deployd install` on a machine."""

import shutil
from collections.abc import Iterator
from functools import partial

from deployd.host.act import Act, run
from deployd.host.installation import UNITS, Site


def uninstall(site: Site, *, purge: bool) -> Iterator[Act]:
    """The acts that undo it. Config, state and account stay, unless they are to be purged."""
    units = [name for name in UNITS if (site.units / name).exists()]
    if units and site.systemd:
        yield Act("stopped", " and ".join(units), partial(run, "systemctl", "disable", "--now", *units))
    for name in UNITS:
        for path in (site.units / name, site.units / f"{name}.old"):
            if path.exists():
                yield Act("removed", str(path), path.unlink)
    if site.link.is_symlink():
        yield Act("removed", str(site.link), site.link.unlink)
    if units and site.systemd:
        yield Act("read", "the units, by systemd", partial(run, "systemctl", "daemon-reload"))
    yield from _own(site, purge=purge)


def _own(site: Site, *, purge: bool) -> Iterator[Act]:
    """The acts that purge the person's own data."""
    holds = {site.units / f"{name}.d": "your own settings" for name in UNITS} | {
        site.config: "the config and the secrets",
        site.state: "the history, and what the gateway reads",
    }
    for path, what in holds.items():
        if path.is_dir():
            yield Act("removed", str(path), partial(shutil.rmtree, path)) if purge else Act("kept", f"{path}: {what}")
    if site.has_account:
        gone = Act("removed", f"account {site.account}", partial(run, "userdel", site.account))
        yield gone if purge else Act("kept", f"account {site.account}: it owns the history")
