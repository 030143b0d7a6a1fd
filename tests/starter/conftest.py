"""The wheels for new repositories."""

from tests.starter.wheels import real_wheel, small_wheel

__all__ = ["real_wheel", "small_wheel"]
