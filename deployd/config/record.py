"""The part of config.toml with which an app agrees that some of its requests are recorded."""

from typing import Annotated

from pydantic import AfterValidator, Field

from deployd.config.values import Section, Size


def _field_name(text: str) -> str:
    if not text or any(sign in text for sign in ".[]$*"):
        raise ValueError(
            'expected the name of a field, such as "email"; it is removed wherever it is, so no path is needed'
        )
    return text


def _at_least(number: int) -> int:
    if number < 1024**2:
        raise ValueError('must be at least "1MiB"')
    return number


class Record(Section):
    """`[app.record]`"""

    share: Annotated[float, Field(ge=0.00001, le=1)] = 0.01
    size: Annotated[Size, AfterValidator(_at_least)] = 64 * 1024**2
    remove: tuple[Annotated[str, AfterValidator(_field_name)], ...] = ()
