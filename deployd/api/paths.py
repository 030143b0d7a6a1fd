"""The address parameters that several endpoints share."""

from typing import Annotated

from fastapi import Path, Query

Number = Annotated[int, Path(ge=1, le=2**53, description="the number of a deploy")]
NumberQuery = Annotated[int, Query(ge=1, le=2**53, description="the number of a deploy")]
