"""Makes the network of an instance of deployd before deployd does.

deployd has the engine suggest a free range, by a temporary network. Each network costs a tenth of a second of processor
time. The tests of the network itself, of the demo and of the machines that boot let deployd make it.
"""

import secrets

from deployd.bringup.api import EngineApi
from deployd.domain import part_labels
from deployd.errors import Unavailable

_TRIES = 5


def make(api: EngineApi, instance: str) -> None:
    """Make it, in a range that nothing else on the engine has."""
    for left in reversed(range(_TRIES)):
        # Not the ranges of the test bed: 10.96.0.0/16 of the cluster, 10.215.0.0/16 of engines beside the machine's own.
        subnet = f"10.{128 + secrets.randbelow(64)}.{secrets.randbelow(256)}.0/24"
        spec = {
            "Driver": "bridge",
            "Labels": part_labels(instance, "network"),
            "IPAM": {"Config": [{"Subnet": subnet}]},
        }
        try:
            api.post("/networks/create", {"Name": f"deployd-{instance}", **spec})
        except Unavailable:
            if not left:
                raise
        else:
            return
