"""Fixtures for tests of the faces, for this folder."""

from tools.anyio_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_fixtures import *  # noqa: F403
