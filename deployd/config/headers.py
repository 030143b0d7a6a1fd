"""Headers of requests that deployd sends, as the config names them."""

import re
from typing import Annotated

from pydantic import AfterValidator

from deployd.config.values import EnvValue

_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


def _headers(table: dict[str, str]) -> dict[str, str]:
    for name, value in table.items():
        if _NAME.fullmatch(name) is None or re.search(r"[\r\n]", value):
            raise ValueError(f'"{name}" is not the name of a header with a value on one line')
    return table


Headers = Annotated[dict[str, EnvValue], AfterValidator(_headers)]
