"""A body with one of its values changed to anything."""

from typing import Any

from hypothesis import strategies as st

_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("https://[::1/x"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "name", "href", "x"]), inner),
    max_leaves=6,
)


def change_one(data: st.DataObject, body: Any) -> None:
    """Put anything in the place of one value of `body`."""
    at = body
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = data.draw(st.sampled_from(keys))
        if not (isinstance(at[key], dict | list) and at[key] and data.draw(st.booleans())):
            break
        at = at[key]
    at[key] = data.draw(_ANY)
