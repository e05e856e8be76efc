"""Fixtures for tests on a real gateway, for this folder."""

from tools.gateway_fixtures import *  # noqa: F403 - pytest looks for fixtures and hooks in this module
from tools.ordinary_kernels import *  # noqa: F403 - likewise
