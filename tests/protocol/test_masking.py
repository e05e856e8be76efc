"""Secrets are taken out of what others wrote. G8."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.headers import Headers
from trio_gateway._protocol.masking import MASK, Masker, OwnWordsMasker, one_line, secrets_of, shorten, tidy

SECRET = 'a&b/ <c>"ä'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_a_secret_is_hidden_however_it_is_written(form: str):
    assert Masker([SECRET])(f"You sent x{form}y!") == f"You sent x{MASK}y!"


def test_a_secret_that_begins_with_another_one():
    assert Masker(["abc", "abcdef"])("abcdef abc") == f"{MASK} {MASK}"


def test_nothing_to_hide():
    assert Masker([])("text") == "text"
    assert Masker([""])("text") == "text"
    assert Masker([" "])("text") == "text"


def test_a_masker_shows_nothing():
    assert repr(Masker(["s3cret"])) == "<Masker>"


@given(st.text(min_size=1), st.text(), st.text())
def test_no_secret_is_left(secret: str, before: str, after: str):
    # The mark itself may hold a short secret.
    assert secret not in Masker([secret])(before + secret + after).replace(MASK, "\0") or secret == "\0"


def test_tidy_and_shorten():
    assert tidy(" a\x1b[1m\r\n\u202eb\ud800 \u074b\u200bc\u00e4 ") == "a [1m b c\u00e4"
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcd …"
    assert shorten("x" * 501) == "x" * 498 + " …"


def test_headers_ignore_case_and_keep_repeated_ones():
    headers = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X", "y")])
    assert headers["SET-COOKIE"] == "a=1, b=2"
    assert headers.get_list("set-Cookie") == ["a=1", "b=2"]
    assert headers.get_list("none") == []
    assert "x" in headers
    assert 5 not in headers
    assert list(headers) == ["set-cookie", "x"]
    assert len(headers) == 2
    assert repr(headers) == "<Headers set-cookie, x>"


# ------------------------------------------------------------------------------------------------------ in any mixture, cut


@pytest.mark.parametrize(
    "form",
    [
        "a%26b/%20%3Cc>&quot;%E4",
        "a&#38;b/+<c>&#x22;\\u00e4",
        r"A&amp;B\/ \x3cC\x3e\"" + "\\xc3\\xa4",
        SECRET.encode().decode("latin-1"),
        SECRET.encode("latin-1").decode("utf-8", "replace"),
        repr(SECRET)[1:-1],
        repr(SECRET.encode())[2:-1],
        json.dumps(json.dumps(SECRET)[1:-1])[1:-1],
        SECRET.upper(),
    ],
)
def test_a_secret_is_hidden_in_a_mixture_of_spellings(form: str):
    assert Masker([SECRET])(f"x{form}y") == f"x{MASK}y"


def test_a_secret_that_was_cut_off_at_the_end():
    mask = Masker(["token 0123456789abcdef"])
    assert mask("sent token 0123456789abcdef, ok") == f"sent {MASK}, ok"
    for length in range(9, 21):
        assert mask("sent token 0123456789abcdef"[: 5 + length]) == f"sent {MASK}"
    assert mask("sent token 01") == "sent token 01"  # too little to tell anything
    assert mask("expected a token") == "expected a token"
    assert mask("token 0123 is cut elsewhere") == "token 0123 is cut elsewhere"
    assert mask("<token 0123456789>, <token 0123456789ab>") == f"<{MASK}>, <{MASK}>"
    assert Masker(["aaaaaaaaaaaab"])("aaaaaaaaaaaaaaaa") == f"aaaa{MASK}"


def test_data_keeps_what_is_an_ordinary_word():
    data = json.dumps({"kernelspecs": {"python3": {"display_name": "ä"}}}, ensure_ascii=False).encode()
    assert Masker(["kernelspecs", "python3", "display_name", "hunter2"]).content(data) == data
    assert (
        Masker(["0123456789"], ["application/json"]).content(b"application/json 0123456789")
        == f"application/json {MASK}".encode()
    )
    assert Masker([]).content(data) == data


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_data_is_masked_in_its_encoding(encoding: str):
    masker = Masker(["p4ss & wörd-0"])
    found = masker.content(json.dumps({"p4ss & wörd-0": "ü", "b": "p4ss & wörd-0"}, ensure_ascii=False).encode(encoding))
    assert json.loads(found.decode(encoding)) == {MASK: "ü", "b": MASK}


def test_binary_data_stays_what_it_is():
    data = bytes(range(256)) * 10
    assert Masker(["0123-token", "\xff\xfe-and-more"]).content(data) == data


@given(st.text(alphabet="abc01234&%\"'\\/ äß", min_size=8, max_size=20), st.text(max_size=10))
def test_no_strong_secret_is_left_in_data(secret: str, around: str):
    masker = Masker([secret])
    if any(char in "01234&%\"'\\/äß" for char in secret):
        assert secret.encode() not in masker.content((around + secret + around).encode())


def test_many_backslashes_cost_little():
    """A pattern that tried each backslash in all lengths would not come to an end."""
    secret = "p4ss" + "\\" * 30 + "w0rd"
    mask = Masker([secret])
    assert mask(f"x{secret}x{json.dumps(secret)}") == f"x{MASK}x" + f'"{MASK}"'
    assert mask("p4ss" + "%5C" * 30 + "w0rd") == MASK
    assert mask(("p4ss" + "\\" * 200) * 50).count(MASK) == 50
    assert mask(("p4s" + "\\" * 200) * 50) == ("p4s" + "\\" * 200) * 50


# At the edges --------------------------------------------------------------------------------------------------------------


def test_the_blanks_around_a_secret_need_not_be_there():
    assert Masker([" s3cret\n"])("< s3cret\n> <s3cret> None") == f"<{MASK}> <{MASK}> None"


def test_the_longest_of_secrets_that_begin_alike_in_another_case_is_hidden_whole():
    for secrets in (["abc", "ABCDEF"], ["ABCDEF", "abc"]):
        assert Masker(secrets)("ABCDEF abcdef") == f"{MASK} {MASK}"


@pytest.mark.parametrize("char", ["\N{GRINNING FACE}", "\ud800"], ids=["two units", "half a pair"])
def test_a_secret_with_what_json_writes_in_units_or_no_encoding_knows(char: str):
    secret = f"p4ss{char}w0rd"
    mask = Masker([secret])
    forms = [secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret, errors="surrogatepass")]
    forms.append(repr(secret.encode("utf-8", "surrogatepass"))[2:-1])
    for form in forms:
        assert mask(f"x{form}y") == f"x{MASK}y", form


@pytest.mark.parametrize("length", range(12, 20))
def test_a_beginning_of_any_length_is_hidden_to_its_end(length: int):
    secret = "0123456789abcdefghij"
    assert Masker([secret])(f"<{secret[:length]}>, ok") == f"<{MASK}>, ok"


def test_a_beginning_is_told_from_its_own_first_characters_again():
    mask = Masker(["aaaaaaaaa-4Z"])  # as many as can be its beginning are taken for it
    assert mask("-" + "a" * 10) == f"-a{MASK}"
    assert mask("-" + "a" * 9) == f"-{MASK}"


def test_a_scheme_ends_at_the_first_blank():
    assert Masker(["token abc 0123456789"])("sent token abc 0") == f"sent {MASK}"


def test_a_secret_without_plain_letters_is_hidden_in_data():
    secret = "äöü-äöü-ßßß"
    for encoding in ("utf-8", "latin-1"):
        assert Masker([secret]).content(f"<{secret}>".encode(encoding)) == f"<{MASK}>".encode()


@pytest.mark.parametrize("secret", ["Tok3n-AbCdEfGh", "tok3n-abcdefgh", "TOK3N-ABCDEFGH"])
def test_data_is_masked_in_any_case(secret: str):
    mask = Masker([secret])
    for form in (secret, secret.lower(), secret.upper()):
        assert mask.content(f"<{form}>".encode()) == f"<{MASK}>".encode() == mask(f"<{form}>").encode()


def test_one_line_tells_that_there_was_more():
    assert one_line("a" + " " * 10_000, 10) == "a …"  # though what is shown of it is short
    assert one_line("a \n b", 10) == "a b"
    assert one_line("x" * 501) == "x" * 498 + " …"
    assert one_line("x" * 500) == "x" * 500


def test_what_is_secret_of_headers_that_we_send():
    headers = [("Authorization", "token t0ken-s3cret"), ("X-Flag", "12345"), ("X-Key", "123456"), ("Auth", "Bearer short")]
    assert list(secrets_of(headers)) == ["token t0ken-s3cret", "t0ken-s3cret", "123456", "Bearer short"]


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("s", "the settings of s, and token=s", "the settings of [hidden], and token=[hidden]"),
        ("token", "auth_token is not the token", "auth_token is not the [hidden]"),
        ("s3cret-t0ken", "xs3cret-t0kenx", "x[hidden]x"),
        ("a&b", "a&amp;b a%26b xa&bx", "[hidden] [hidden] xa&bx"),
        ("", "as it is", "as it is"),
    ],
)
def test_in_own_words_a_short_secret_is_hidden_where_it_stands_alone(secret: str, text: str, shown: str) -> None:  # G8
    masker = OwnWordsMasker([secret])
    assert masker(text) == shown
    assert repr(masker) == "<OwnWordsMasker>"
