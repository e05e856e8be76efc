"""Fixtures for tests of the faces, for this folder."""

from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module

from .manager_kit import fake, kind, shared_fake  # noqa: F401 - fixtures of the managers' tests
