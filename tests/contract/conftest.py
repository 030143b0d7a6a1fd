"""The images of the worlds: each is built once in a session, when it is asked for first."""

import uuid
from collections.abc import Callable, Iterator
from functools import cache, partial

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import remove
from deployd.domain import Image
from tests.contract.worlds import image_of


@pytest.fixture(scope="session")
def owner(docker_engine: Engine) -> Iterator[str]:
    """The instance of the images, which go with the session."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    remove(docker_engine.api(), name)


@pytest.fixture(scope="session")
def built(base_images: Engine, owner: str) -> Callable[[str], Callable[[str], Image]]:
    """Gives for a name what builds its image of a tag."""
    image = cache(partial(image_of, base_images, owner=owner))
    return lambda name: lambda tag: image(name, tag)
