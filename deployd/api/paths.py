"""The address parameters that several endpoints share."""

import re
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, WithJsonSchema

_DEPLOY_NAME = r"[a-z0-9-]{1,40}/[1-9][0-9]{0,14}"


def _deploy_name(text: str) -> str:
    if re.fullmatch(_DEPLOY_NAME, text) is None:
        raise ValueError("expected the name of a deploy, such as iris/42")
    return text


DeployName = Annotated[
    str, AfterValidator(_deploy_name), WithJsonSchema({"type": "string", "pattern": f"^{_DEPLOY_NAME}$"})
]

_APP_NAME = r"[a-z0-9-]{1,40}"


def _app_name(text: str) -> str:
    if re.fullmatch(_APP_NAME, text) is None:
        raise ValueError("expected the name of an app, such as iris")
    return text


AppName = Annotated[str, AfterValidator(_app_name), WithJsonSchema({"type": "string", "pattern": f"^{_APP_NAME}$"})]

Number = Annotated[int, Path(ge=1, le=2**53, description="the number of a deploy")]
NumberQuery = Annotated[int, Query(ge=1, le=2**53, description="the number of a deploy")]
