"""The pytest plugin, in pytest runs of their own. (`test_documented_tests` has runs in new processes, as a user has them.)"""

from __future__ import annotations

import pytest

from tools.inner_pytest import run_pytest

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


def test_a_pool(pytester: pytest.Pytester) -> None:
    """The marker says what it is; its kernels are the fake's; one that cannot be fails the test."""
    run_pytest(
        pytester,
        """
        import pytest
        import trio_gateway

        async def test_plain(fake_gateway_pool, fake_gateway):
            assert isinstance(fake_gateway_pool, trio_gateway.KernelPool)
            assert (fake_gateway_pool.size, fake_gateway_pool.warm) == (2, 0)
            async with fake_gateway_pool.kernel() as kernel:
                assert list(fake_gateway.kernels) == [kernel.id]

        @pytest.mark.trio_gateway(kernelspec="julia", pool={"size": 4, "warm": 3, "reuse": "as-is"}, request_timeout=7)
        async def test_marked(fake_gateway_pool, fake_gateway, fake_gateway_client, autojump_clock):
            await fake_gateway_pool.wait_ready()
            assert [kernel.name for kernel in fake_gateway.kernels.values()] == ["julia"] * 3
            assert fake_gateway_client.config.request_timeout == 7

        @pytest.mark.trio_gateway(pool={"size": 0})
        async def test_wrong(fake_gateway_pool):
            pass
        """,
    ).assert_outcomes(passed=2, failed=1)


def test_a_fleet(pytester: pytest.Pytester) -> None:
    """The marker says what it is; its gateways fall and rise; one that cannot be fails the test."""
    result = run_pytest(
        pytester,
        """
        import pytest
        import trio_gateway

        async def test_plain(fake_gateway_fleet, fake_fleet, gateway_events, autojump_clock):
            assert isinstance(fake_gateway_fleet, trio_gateway.Fleet)
            assert [(one.name, one.state) for one in fake_gateway_fleet.gateways] == [("a", "up"), ("b", "up")]
            fake_fleet.fall("a")
            async with fake_gateway_fleet.open_pool(size=2, warm=2) as pool:
                assert (await pool.run("6 * 7")).text == "42"
                assert not fake_fleet.gateways["a"].kernels
            assert gateway_events

        @pytest.mark.trio_gateway(
            fleet={"gateways": ["x", "y", "z"], "labels": {"z": {"gpu"}}, "weights": {"y": 2}, "placement": "round-robin"},
            kernelspec="julia", fake={"token": "mine"}, request_timeout=7,
        )
        async def test_marked(fake_gateway_fleet, fake_fleet, autojump_clock):
            assert [one.weight for one in fake_gateway_fleet.gateways] == [1, 2, 1]
            assert {fake.token for fake in fake_fleet.gateways.values()} == {"mine"}
            assert fake_gateway_fleet.gateway("y").config.request_timeout == 7
            async with fake_gateway_fleet.start_kernel(require={"gpu"}) as kernel:
                assert kernel.name == "julia"
                assert list(fake_fleet.gateways["z"].kernels) == [kernel.id]

        @pytest.mark.trio_gateway(fleet={"labels": {"c": {"gpu"}}})
        async def test_wrong(fake_gateway_fleet):
            pass

        async def test_fails(fake_gateway_fleet):
            async with fake_gateway_fleet.start_kernel() as kernel:
                await kernel.execute("'findme'")
                assert False
        """,
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*names of gateways: 'a', 'b'*"])
    result.stdout.fnmatch_lines(["*Conversation with <FakeGateway*", "*shell execute_request*findme*"])


def test_a_fleet_on_ports_for_the_other_faces(pytester: pytest.Pytester) -> None:
    run_pytest(
        pytester,
        """
        import asyncio
        import trio_gateway.anyio
        import trio_gateway.blocking

        def test_without_async(fake_fleet_server):
            with trio_gateway.blocking.open_fleet(fake_fleet_server) as fleet:
                assert [one.state for one in fleet.gateways] == ["up", "up"]
                with fleet.open_pool(size=1) as pool:
                    assert pool.run("6 * 7").text == "42"

        def test_on_asyncio(fake_fleet_server):
            async def main():
                async with trio_gateway.anyio.open_fleet(fake_fleet_server) as fleet, fleet.start_kernel() as kernel:
                    assert (await kernel.execute("6 * 7")).text == "42"

            asyncio.run(main())
        """,
        ini="[pytest]\n",
    ).assert_outcomes(passed=2)


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


def test_a_failure_names_the_faults_that_struck_nothing_and_what_a_cut_lost(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
        import contextlib
        import trio_gateway

        async def test_mine(fake_gateway, fake_gateway_kernel):
            fake_gateway.faults.drop("iopub stream", nth=7)
            fake_gateway.faults.cut_at_message("iopub execute_result", times=1)
            with contextlib.suppress(trio_gateway.ConnectionLostError):
                await fake_gateway_kernel.execute("'findme'")
            fake_gateway.faults.cut_at_message("shell complete_request", direction="to_kernel", times=1)
            with contextlib.suppress(trio_gateway.ConnectionLostError):
                await fake_gateway_kernel.complete("a")
            assert False
        """,
    )
    result.assert_outcomes(failed=1)
    lost = ["*iopub execute_result*findme*", "*x *lost, or a part of it: execute_result*", "*connection cut"]
    result.stdout.fnmatch_lines([*lost, "*shell complete_request*", "*x *lost: complete_request*", "*connection cut"])
    result.stdout.fnmatch_lines(["*Fault(*drop*nth=7*iopub stream*has struck nothing"])
    assert result.stdout.str().count("has struck nothing") == 1


@pytest.mark.parametrize(
    ("name", "fixture"), [("fake", "fake_gateway"), ("fleet", "fake_fleet"), ("fake", "fake_gateway_server")]
)
def test_an_unknown_argument_of_a_fake_is_named(pytester: pytest.Pytester, name: str, fixture: str) -> None:
    result = run_pytest(
        pytester,
        f"""
        import pytest

        @pytest.mark.trio_gateway({name}={{"skript": 1}})
        {"" if fixture.endswith("server") else "async "}def test_mine({fixture}):
            pass
        """,
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*the marker trio_gateway says {name}={{'skript': ...}}*there are *script, kernelspecs*"])


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

        async def test_pool(local_gateway_pool):
            assert (await local_gateway_pool.run("6 * 7")).text == "42"

        async def test_fleet(local_gateway_fleet, local_gateway):
            assert [one.state for one in local_gateway_fleet.gateways] == ["up", "up"]
            assert local_gateway_fleet.gateway("a").url == local_gateway.url != local_gateway_fleet.gateway("b").url
            async with local_gateway_fleet.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"

        def test_second(local_gateway):
            assert local_gateway.auth_token
            import pathlib
            pathlib.Path("url").write_text(local_gateway.url)

        async def test_third(local_gateway_client):
            import pathlib
            assert local_gateway_client.url == pathlib.Path("url").read_text()
        """,
    ).assert_outcomes(passed=5)


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


@pytest.mark.parametrize(
    ("fixture", "clock", "instead"),
    [
        ("fake_gateway_server", "autojump_clock", "fake_gateway"),
        ("fake_fleet_server", "autojump_clock", "fake_fleet"),
        ("local_gateway_kernel", "autojump_clock", "fake_gateway_kernel"),
        ("fake_gateway_server", "mock_clock", None),
    ],
)
def test_a_failure_in_two_times_says_so(pytester: pytest.Pytester, fixture: str, clock: str, instead: str | None) -> None:
    """A clock that stands still leaps over nothing."""
    result = run_pytest(
        pytester,
        f"""
        import pytest

        @pytest.fixture
        def local_gateway():
            pass

        @pytest.fixture
        def local_gateway_kernel(local_gateway):
            pass

        @pytest.mark.trio
        async def test_mine({fixture}, {clock}):
            assert False
        """,
    )
    result.assert_outcomes(failed=1)
    told = f"This test uses {fixture}, which is in real time, and autojump_clock*"
    if instead is None:
        result.stdout.no_fnmatch_line(told)
    else:
        result.stdout.fnmatch_lines([told, f"*Either take {instead}, which is in memory*"])


def test_a_fake_that_no_request_came_to_says_how_it_is_reached(pytester: pytest.Pytester) -> None:
    """As printed, both ways lead to it."""
    result = run_pytest(
        pytester,
        """
        import pytest
        import trio_gateway

        async def answer(*args, **settings):
            async with trio_gateway.open_gateway(*args, **settings) as gateway, gateway.start_kernel() as kernel:
                return (await kernel.execute("6 * 7")).text

        async def test_not_reached(fake_gateway, monkeypatch, autojump_clock):
            monkeypatch.delenv("JUPYTER_GATEWAY_URL", raising=False)
            await answer()

        async def test_by_its_connector(fake_gateway, autojump_clock):
            where = dict(auth_token=fake_gateway.token, connector=fake_gateway.connector)
            assert await answer(fake_gateway.url, **where) == "42"

        async def test_in_place(fake_gateway, monkeypatch, autojump_clock):
            monkeypatch.setattr(trio_gateway, "open_gateway", fake_gateway.open)
            assert await answer() == "42"
        """,
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Conversation with <FakeGateway*",
            "No request came to it.*",
            "  open_gateway(fake_gateway.url, auth_token=fake_gateway.token, connector=fake_gateway.connector)",
            '  monkeypatch.setattr(trio_gateway, "open_gateway", fake_gateway.open)',
        ]
    )


def test_only_the_fixtures_own_fake_is_named_where_no_request_came(pytester: pytest.Pytester) -> None:
    """A fleet's members are reached by the fleet."""
    result = run_pytest(
        pytester,
        """
        async def test_both(fake_gateway, fake_fleet, autojump_clock):
            raise ValueError("mine")
        """,
    )
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert (text.count("Conversation with <Fake"), text.count("No request came to it.")) == (3, 1)


PLAIN = """
    async def test_mine(fake_gateway_kernel):
        assert (await fake_gateway_kernel.execute("6 * 7")).text == "42"
    """


def test_with_no_configuration_at_all(pytester: pytest.Pytester) -> None:
    """pytest-trio runs what uses an async fixture of ours, and nothing else is touched."""
    program = (
        PLAIN
        + """
    def test_plain():
        pass

    async def test_other():
        pass
    """
    )
    result = run_pytest(pytester, program, ini="[pytest]\n")
    result.assert_outcomes(passed=2, failed=1)  # the other one has nobody that runs it


def test_where_nothing_runs_it_that_is_said(pytester: pytest.Pytester) -> None:
    result = run_pytest(pytester, PLAIN, "-p", "no:trio", ini="[pytest]\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["This async test uses fake_gateway, and nothing is here*", "  pip install pytest-trio", "*mark.anyio*"]
    )


@pytest.mark.parametrize(
    ("fixture", "instead"),
    [
        ("fake_gateway_kernel", "fake_gateway_server, a Gateway"),
        ("fake_gateway_fleet", "fake_fleet_server, a list of Fleet"),
        ("local_gateway_kernel", "local_gateway, a Gateway"),
    ],
)
@pytest.mark.parametrize("mode", ["", "trio_mode = true\n"])
def test_who_forgets_async_is_told_what_to_write(pytester: pytest.Pytester, fixture: str, instead: str, mode: str) -> None:
    program = f"""
        import pytest

        @pytest.mark.parametrize("number", [1])
        def test_mine({fixture}, number):
            pass
    """
    result = run_pytest(pytester, program, ini=f"[pytest]\n{mode}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["This test is a plain function*", "  async def test_mine(...):", f"*fixture {instead}*"])


@pytest.mark.parametrize("fixture", ["fake_gateway_kernel", "fake_gateway"])
def test_on_asyncio_the_right_fixture_is_named(pytester: pytest.Pytester, fixture: str) -> None:
    result = run_pytest(
        pytester,
        f"""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_mine({fixture}):
            pass
        """,
        ini="[pytest]\n",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E * FakeGateway runs on Trio, and this is asyncio: *fake_gateway_server*"])


def test_on_asyncio_a_real_gateway_is_opened_otherwise(pytester: pytest.Pytester) -> None:
    result = run_pytest(
        pytester,
        """
        import pytest

        @pytest.fixture(scope="session")
        def local_gateway():
            return None

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_mine(local_gateway_kernel):
            pass
        """,
        ini="[pytest]\n",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["E *this is asyncio: for asyncio take the fixture local_gateway, and open it with trio_gateway.anyio"]
    )


def test_times_of_a_conversation_count_from_its_start(pytester: pytest.Pytester) -> None:
    """Also in real time, where Trio's clock begins anywhere."""
    result = run_pytest(
        pytester,
        """
        async def test_mine(fake_gateway_kernel):
            assert await fake_gateway_kernel.execute("1") is None
        """,
        ini="[pytest]\n",
    )
    times = [
        float(line.split()[0]) for line in result.outlines if line[:13].strip().replace(".", "", 1).isdecimal() and " #" in line
    ]
    assert len(times) > 5
    assert 0 <= times[0] <= times[-1] < 600
