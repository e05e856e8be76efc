"""What gives a token: an interface, and the renewer that does nothing."""

from __future__ import annotations

import pytest

from trio_gateway import NoOpTokenRenewer, TokenRenewer


def test_a_renewer_has_to_say_how_a_token_is_got() -> None:
    with pytest.raises(TypeError, match="get_token"):
        TokenRenewer()  # type: ignore[abstract]


def test_the_one_that_does_nothing_gives_back_what_it_gets() -> None:
    renewer = NoOpTokenRenewer()
    assert isinstance(renewer, TokenRenewer)
    assert renewer.get_token("Authorization", "token", "abc") == "abc"
    assert renewer.get_token("X-Token", None, "", later="unknown") == ""
    assert renewer.get_token(auth_header_key="Authorization", auth_scheme=None, auth_token="by name") == "by name"
