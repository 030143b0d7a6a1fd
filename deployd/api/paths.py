"""The parts of a path that more than one endpoint takes."""

from typing import Annotated

from fastapi import Path

Number = Annotated[int, Path(ge=1, le=2**53, description="the number of a deploy")]
