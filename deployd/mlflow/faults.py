"""The errors of an MLflow server in our words, with hints. Pure."""

import json
from typing import Any

from deployd.config.models import Model
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.logs.log import printable

_LONGEST = 200


def fault_of(status: int, content: bytes, model: Model, what: str) -> DeploydError:
    """The error for an answer that is not 200; `what` was asked for, such as "the alias champion of iris"."""
    code, message = _said(content)
    where = f"the model registry {model.registry}"
    match status:
        case 401 | 407:
            hint = "set app.model.username and password, or token, and see whether they are still valid"
            return BuildFailed(f"{where} needs a valid login ({status})", hint=hint)
        case 403:
            return _forbidden(content, model, where, what)
        case 400 | 404 if code:
            hint = (
                _set_alias(model)
                if status == 400
                else "see app.model.name and its versions there; names are case-sensitive"
            )
            return BuildFailed(f"{where} does not have {what}: {message}", hint=hint)
        case 301 | 302 | 303 | 307 | 308:
            hint = "set app.model.registry to the new address"
            return BuildFailed(f"{where} redirects to another address ({status})", hint=hint)
        case 404:
            return BuildFailed(f"{where} is not an MLflow server (404)", hint="see app.model.registry")
        case _:
            said = f": {message}" if message else ""
            return Unavailable(f"{where} answers {status}{said}", hint="look at the log of the MLflow server")


def strange(model: Model, why: str) -> Unavailable:
    """The error for an answer that no MLflow server gives."""
    what = f"what answers at the model registry {model.registry} is not an MLflow server: {why}"
    return Unavailable(what, hint="see app.model.registry; a login page in front of it must let deployd pass")


def _forbidden(content: bytes, model: Model, where: str, what: str) -> BuildFailed:
    if b"invalid host" in content.lower():
        host = model.registry.partition("://")[2].partition("/")[0]
        hint = f"start MLflow with --allowed-hosts {host}, or write a host name that it accepts into app.model.registry"
        return BuildFailed(f"{where} does not accept requests by this host name (403 Invalid Host)", hint=hint)
    who = model.username or ("the token's owner" if model.token else "everybody")
    return BuildFailed(f"{where} does not let {who} read {what} (403)", hint="give the permission READ in MLflow")


def _set_alias(model: Model) -> str:
    return f'set it, in MLflow\'s pages or by MlflowClient().set_registered_model_alias("{model.name}", "{model.alias}", VERSION)'


def _said(content: bytes) -> tuple[str, str]:
    """The code and the message of MLflow's own errors."""
    try:
        said: Any = json.loads(content)
    except ValueError:
        return "", ""
    if not isinstance(said, dict):
        return "", ""
    return str(said.get("error_code", "")), printable(str(said.get("message", "")), _LONGEST)
