"""The pytest plugin, in pytest runs of their own. (`test_documented_tests` has runs in new processes, as a user has them.)"""

from __future__ import annotations

import pytest
from inner_pytest import run_pytest

pytest_plugins = ["pytester"]


def test_the_fake_and_its_kernel_in_virtual_time(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        import trio

        async def test_mine(fake_gateway, fake_gateway_kernel, gateway_events, autojump_clock):
            await fake_gateway_kernel.execute("import time; time.sleep(3600)")
            assert trio.current_time() == 3600
            assert [event.action for event in gateway_events if event.kind == "kernel"] == ["start"]
            assert list(fake_gateway.kernels) == [fake_gateway_kernel.id]
        """,
    ).assert_outcomes(passed=1)


def test_without_trio_mode(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        import pytest

        @pytest.mark.trio
        async def test_mine(fake_gateway_kernel):
            assert (await fake_gateway_kernel.execute("6 * 7")).text == "42"
        """,
        ini="[pytest]\n",
    ).assert_outcomes(passed=1)


def test_the_marker(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        import pytest

        pytestmark = pytest.mark.trio_gateway(kernelspec="julia", request_timeout=5)

        def script(cell):
            return cell.code.upper()

        @pytest.mark.trio_gateway(fake={"script": script, "framings": ["legacy"]}, request_timeout=7)
        async def test_mine(fake_gateway, fake_gateway_kernel, fake_gateway_client):
            assert fake_gateway_kernel.name == "julia"
            assert (await fake_gateway_kernel.execute("abc")).text == "ABC"
            assert fake_gateway_client.config.request_timeout == 7
            assert fake_gateway.framings == ("legacy",)

        async def test_other(fake_gateway_client):
            assert fake_gateway_client.config.request_timeout == 5

        @pytest.mark.trio_gateway("julia")
        async def test_wrong(fake_gateway):
            pass
        """,
        "--strict-markers",
    ).assert_outcomes(passed=2, failed=1)


def test_a_failure_shows_the_conversation_without_the_token(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
        async def test_mine(fake_gateway_kernel):
            await fake_gateway_kernel.execute("'findme'")
            assert False

        async def test_good(fake_gateway_kernel):
            await fake_gateway_kernel.execute("'not me'")
        """,
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*Conversation with <FakeGateway*", "*shell execute_request*findme*", "*shell execute_reply*"])
    result.stdout.no_fnmatch_line("*fake-token*")
    result.stdout.no_fnmatch_line("*not me*")


def test_anyio_on_both_backends(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        import pytest
        import sniffio
        import trio_gateway.anyio

        pytestmark = pytest.mark.anyio

        @pytest.mark.parametrize("anyio_backend", ["trio"])
        async def test_trio(fake_gateway_kernel, anyio_backend):
            assert sniffio.current_async_library() == "trio"
            assert (await fake_gateway_kernel.execute("6 * 7")).text == "42"

        async def test_any(fake_gateway_server, anyio_backend_name):
            assert sniffio.current_async_library() == anyio_backend_name
            async with trio_gateway.anyio.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
        """,
        "-p",
        "no:trio",
        ini="[pytest]\n",
    ).assert_outcomes(passed=3)


@pytest.mark.gateway
def test_a_real_gateway_for_the_session(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        async def test_first(local_gateway_kernel, gateway_events):
            assert (await local_gateway_kernel.execute("6 * 7")).text == "42"
            assert gateway_events

        def test_second(local_gateway):
            assert local_gateway.auth_token
            import pathlib
            pathlib.Path("url").write_text(local_gateway.url)

        async def test_third(local_gateway_client):
            import pathlib
            assert local_gateway_client.url == pathlib.Path("url").read_text()
        """,
    ).assert_outcomes(passed=3)


def test_a_server_that_does_not_start_says_why(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
        import pytest

        @pytest.mark.trio_gateway(fake={"nonsense": 1})
        def test_mine(fake_gateway_server):
            pass
        """,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*nonsense*"])
