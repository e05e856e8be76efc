"""Every check of the project by name: `nox -l` lists them, `nox -s lint typing layers` runs some.

The commands stand here and nowhere else; `.ci/run` calls these sessions with `--no-venv` in the environment it has already built.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.error_on_external_run = True
nox.options.sessions = ["lint", "typing", "layers", "tests", "docs"]

PYTHONS = ["3.11", "3.12", "3.13"]
IPYKERNELS = {"3.9": "<7", "3.10": "<7", "3.11": ">=7", "3.12": "<7", "3.13": ">=7"}
"""Which ipykernel is tried on which Python: 7 wants 3.10."""
ROOT = Path(__file__).parent
# Named, so that no environment that somebody makes beside them is ever read (flake8 does not look at .gitignore).
SOURCES = ["src", "tests", "examples", "benchmarks", "docs", "noxfile.py", ".ci/again.py", ".ci/lint_async.py"]


def install(session: nox.Session, *extras: str, editable: bool = True) -> None:
    """Install the project with these extras; without a virtual environment of nox's own, what is there is used."""
    if session.virtualenv.is_sandboxed:
        session.install(*(["-e"] if editable else []), f".[{','.join(extras)}]")


def install_wheel(session: nox.Session, extras: str, *others: str) -> None:
    """Build the wheel, alone in a folder of this session, and install it with these extras."""
    folder = Path(session.create_tmp()) / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    session.install(f"trio-gateway[{extras}] @ {wheel.resolve().as_uri()}", *others)
    # Where the environment is used again, pip takes the wheel of before for this one: they have the same version.
    session.install("--force-reinstall", "--no-deps", str(wheel))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format, and flake8-async."""
    install(session, "lint")
    session.run("python", "-m", "ruff", "check", *SOURCES)
    session.run("python", "-m", "ruff", "format", "--check", *SOURCES)
    session.run("python", ".ci/lint_async.py", *SOURCES)


@nox.session
def typing(session: nox.Session) -> None:
    """Mypy, pyright, how complete the public types are, and names that the tests use and that do not exist."""
    install(session, "dev")
    session.run("python", "-m", "mypy")
    session.run("python", "-m", "mypy", "--config-file", "tests/mypy.ini")
    session.run("python", "-m", "pyright")
    session.run("python", "-m", "pyright", "--verifytypes", "trio_gateway", "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    """A module imports only from layers below its own."""
    install(session, "dev")
    session.run("lint-imports", "--no-cache")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The tests, on the built wheel: `nox -s tests-3.12 -- -k kernel`."""
    install_wheel(session, "all,test", "coverage[toml]>=7.10")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *(session.posargs or ["--tier=full"]))
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session(python=PYTHONS)
def faces(session: nox.Session) -> None:
    """The adapters alone: asyncio, uvloop and Trio through anyio, synchronous code, Jupyter's own tools."""
    install(session, "all", "test")
    session.run("python", "-m", "pytest", "tests/portal", "tests/jupyter", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, in `build/site`: plain words, no warning, no link inside that leads nowhere, and a search that finds."""
    install(session, "docs")
    session.run("python", "docs/check_prose.py")
    # -E: pages that have not changed would be in the search without the entries of their index.
    sphinx = ("python", "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-n", "-j", "auto")
    session.run(*sphinx, "docs", "build/site", *session.posargs)
    session.run("python", "docs/check_site.py", "build/site")
    session.run("python", "docs/look_at_site.py", "build/site")


@nox.session
def examples(session: nox.Session) -> None:
    """The examples and every Python block of the README and the docs, run for real."""
    install(session, "all", "test")
    session.run("python", "-m", "pytest", "--tier=full", "tests/docs", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """All points of all sweeps, chaos from another seed, deep property tests: `nox -s soak -- 20000` runs so many episodes."""
    install(session, "all", "test")
    environment = {"TRIO_GATEWAY_LONG": "1", "TRIO_GATEWAY_SOAK_EPISODES": session.posargs[0] if session.posargs else "5000"}
    environment["TRIO_GATEWAY_SOAK_SEED"] = str(secrets.randbelow(10**9))
    long = sorted(str(path.relative_to(ROOT)) for kind in ("sweep", "soak") for path in ROOT.glob(f"tests/**/test_*_{kind}.py"))
    pytest = ("python", "-m", "pytest", "--tier=full", "--timeout=0")
    session.run(*pytest, "-rP", *long, env=environment)  # -rP: the soak tells what came of its executions
    session.run(*pytest, "-m", "hypothesis", "--hypothesis-profile=deep", env=environment)


@nox.session
def model(session: nox.Session) -> None:
    """The model of the resume protocol, docs/resume.pml, with three requests, in the checker Spin: ten minutes, 7 GB."""
    if shutil.which("spin") is None or shutil.which("cc") is None:
        session.skip("needs Debian's spin, gcc and libc6-dev: install them")
    install(session, "test")
    pytest = ("python", "-m", "pytest", "-n", "0", "--timeout=0", "-s", "tests/guarantees/test_resume_model.py")
    session.run(*pytest, *session.posargs, env={"TRIO_GATEWAY_LONG": "1"})


@nox.session
def kernels(session: nox.Session) -> None:
    """The scenarios with kernels that are not ipykernel, and values, calls and tools on those of Python, on each Python here.

    bash_kernel, xeus-python and async-kernel from PyPI; and ipykernel 6 and 7, in an environment for each Python that is found.
    """
    install(session, "all", "test")
    session.install("bash_kernel>=0.10", "xeus-python>=0.17", "async-kernel>=0.20")
    session.run("python", "-m", "bash_kernel.install", "--sys-prefix")
    for version, wanted in IPYKERNELS.items():
        python = find_python(version)
        if python is None:
            session.warn(f"there is no Python {version} here, so its kernel is not tried")
            continue
        folder = Path(session.create_tmp()).resolve() / f"python{version}"
        if not folder.exists():
            session.run(python, "-m", "venv", str(folder), external=True)
        own = str(folder / "bin" / "python")
        session.run(own, "-m", "pip", "install", "--quiet", f"ipykernel{wanted}", external=True)
        name = f"ipykernel-{version}"
        session.run(own, "-m", "ipykernel", "install", "--prefix", session.virtualenv.location, "--name", name, external=True)
    environment = {"TRIO_GATEWAY_KERNELS_ENV": session.virtualenv.location}
    files = (
        "tests/servers/test_other_kernels.py",
        "tests/servers/test_python_kernels.py",
        "tests/notebooks/test_parameters_kernels.py",
    )
    session.run("python", "-m", "pytest", *files, *session.posargs, env=environment)


@nox.session
def servers(session: nox.Session) -> None:
    """The scenarios on servers that are none of Jupyter's own: jupyverse and jupygate."""
    install(session, "all", "test")
    session.install("jupyverse[auth,jupyterlab]==0.14.18", "jupygate==0.0.5", "ipymini>=0.1.25", "websockets>=14")
    environment = {"TRIO_GATEWAY_SERVERS_ENV": session.virtualenv.location}
    session.run("python", "-m", "pytest", "tests/servers/test_other_servers.py", *session.posargs, env=environment)


@nox.session
def tools(session: nox.Session) -> None:
    """Other projects' tools as docs/jupyter.md says, testbook, jupytext, nbmake, nbval and others; and scrapbook on our files."""
    install(session, "all", "test")
    wanted = (
        "testbook~=0.4.2",
        "jupytext~=1.19",
        "nbmake~=1.5",
        "nbval~=0.11.0",
        "jupyter-cache~=1.0",
        "myst-nb~=1.4",
        "voila~=0.5.0",
        "scrapbook~=0.5.0",
        "pandas",
    )
    session.install(*wanted)
    environment = {"TRIO_GATEWAY_TOOLS_ENV": session.virtualenv.location}
    files = ("tests/jupyter/test_other_tools.py", "tests/notebooks/test_scrapbook.py")
    session.run("python", "-m", "pytest", *files, *session.posargs, env=environment)


@nox.session
@nox.parametrize("neighbour", ["nbclient", "papermill", "jupyter_server", "notebooks"])
def neighbours(session: nox.Session, neighbour: str) -> None:
    """Other projects' own tests with our classes on a real gateway, and their notebooks, compared: docs/neighbours.md."""
    cache = str(Path(session.create_tmp()).resolve() / "sources")
    if neighbour == "notebooks":
        install(session, "local", "notebooks")
        session.install("nbclient", "papermill", "nbconvert", "ipywidgets", "tqdm")
        session.run("python", "tests/neighbours/notebooks.py", "--cache", cache, *session.posargs, env={"PYTHONPATH": "tests"})
        return
    install(session, "local", "jupyter")
    session.install(f"{neighbour}[test]", "ipywidgets")
    session.run("python", "tests/neighbours/compare.py", neighbour, "--cache", cache)


@nox.session(python="3.11")
def autobahn(session: nox.Session) -> None:
    """Autobahn's cases for WebSockets, against both engines and the proxy's server side: docs/security.md. Five minutes.

    The suite is Python 2 code on PyPI; the session makes it run on Python 3, whose 3.11 has what that takes.
    """
    install(session, "fast", "proxy")
    session.install("autobahn==0.10.9", "twisted>=24", "setuptools<81", "wheel")
    cache = str(Path(session.create_tmp()).resolve() / "suite")
    session.run("python", "tests/neighbours/websocket_cases.py", "--cache", cache)


CLUSTER = {"ip": "iproute2", "sshd": "openssh-server", "haproxy": "haproxy", "node": "nodejs", "npm": "npm"}
"""Programs that the clusters are built with, and Debian's packages that have them."""
BOUNDED = ("tests/clusters/test_hosts.py", "tests/clusters/test_provisioners.py")
"""What `.ci/run` plays of them too."""


@nox.session
def cluster(session: nox.Session) -> None:
    """Clusters of our own in network namespaces, and what breaks in them: docs/clusters.md. Needs root; eight minutes.

    Three kernel hosts over SSH, a Kernel Gateway with gateway_provisioners, two Enterprise Gateways behind haproxy, a JupyterHub.
    Their environments are made beside the project once, which takes two minutes more: `.venv-enterprise`, `.venv-provisioners`
    and `.venv-hub`. `nox -s cluster -- tests/clusters/test_hub.py` plays a part.
    """
    if os.geteuid() != 0:
        session.skip("needs root, for network namespaces: run it as root, or in a container with NET_ADMIN and SYS_ADMIN")
    places = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [package for program, package in CLUSTER.items() if shutil.which(program, path=places) is None]
    if missing and shutil.which("apt-get") is None:
        session.skip(f"needs {', '.join(missing)} (Debian's names): install them")
    if missing:
        session.run("apt-get", "update", "-q", external=True)
        install_them = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        session.run(*install_them, env={"DEBIAN_FRONTEND": "noninteractive"}, external=True)
    install(session, "all", "test")
    session.run("python", "tests/clusters/ahead.py")
    pytest = ("python", "-m", "pytest", "--tier=full", "--durations=20", "--durations-min=1")
    environment = {"TRIO_GATEWAY_CLUSTERS": "1"}
    if session.posargs:
        session.run(*pytest, *session.posargs, env=environment)
        return
    session.run(*pytest, "-n", "0", *BOUNDED, env=environment)
    # They wait far more than they work: each file has its own hosts, at the same time as the others.
    rest = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/clusters/test_*.py"))
    rest = [path for path in rest if path not in BOUNDED]
    session.run(*pytest, "-n", str(len(rest)), *rest, env=environment)


@nox.session(python="3.11")
def fuzz(session: nox.Session) -> None:
    """The decoders of kernel messages, for five minutes or what `nox -s fuzz -- -max_total_time=60` says."""
    session.install("atheris", "-e", ".")
    session.run("python", "tests/fuzz/fuzz_decoders.py", *(session.posargs or ["-max_total_time=300"]))


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutations of the pure layers that no test notices; half an hour for all, `nox -s mutation -- loss retry` for some modules.

    Those that are left are named at the end; `mutmut show NAME` in the session's environment shows one. The folder `mutants`
    keeps what was found: only what is named, has changed or is new is tried again.
    """
    session.install("mutmut>=3.8", "-e", ".[all,test]")
    names = [name if "." in name else f"trio_gateway.*{name}.x*" for name in session.posargs]
    session.run("mutmut", "run", *names)
    if not names:  # else it has just told
        session.run("mutmut", "results")


@nox.session
def bench(session: nox.Session) -> None:
    """The library beside its peers, on a wheel: `nox -s bench -- --help`; laid out for half an hour, quick for minutes."""
    install_wheel(session, "all,bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


EXTRAS = ("cli", "events", "fast", "html", "jupyter", "local", "notebooks", "otel", "proxy", "python")
"""What users install; a test compares them with `pyproject.toml`."""


def find_python(version: str) -> str | None:
    """Return an interpreter of this version that runs, or None: one of the path, or of pyenv."""
    for found in (
        shutil.which(f"python{version}"),
        *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True),
    ):
        if found and subprocess.run([found, "-c", "pass"], check=False, capture_output=True).returncode == 0:  # noqa: S603
            return str(found)
    return None


@nox.session(name="release-check")
def release_check(session: nox.Session) -> None:
    """What of a release a machine can check: the same files twice, metadata and contents, and installations from nothing."""
    session.install("build>=1.2", "twine>=6.1", "check-wheel-contents>=0.6.1")
    folder = Path(session.create_tmp()).resolve() / "release"
    shutil.rmtree(folder, ignore_errors=True)
    moment = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    # What is committed, and nothing else that lies in this folder.
    folder.mkdir(parents=True)
    session.run("git", "archive", "--output", str(folder / "source.tar"), "HEAD", external=True)
    shutil.unpack_archive(folder / "source.tar", folder / "source", filter="data")
    builds = []
    for turn in ("first", "second"):
        build = ("python", "-m", "build", "--outdir", str(folder / turn), str(folder / "source"))
        session.run(*build, env={"SOURCE_DATE_EPOCH": str(moment).strip()}, silent=True)
        builds.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / turn).iterdir()})
    if builds[0] != builds[1]:
        session.error(f"two builds of one commit differ: {builds}")
    for name, digest in builds[0].items():
        session.log(f"{name}: sha256 {digest}, twice")
    files = [str(path) for path in (folder / "first").iterdir()]
    (wheel,) = [path for path in files if path.endswith(".whl")]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", wheel)
    without = []
    for version in PYTHONS:
        python = find_python(version)
        if python is None:
            without.append(version)
            continue
        # Each extra alone on one Python; on the others what most people install.
        for number, extras in enumerate(["", "all", *(EXTRAS if version == PYTHONS[0] else ())]):
            place = folder / f"{version}-{number}"
            session.run(python, "-m", "venv", "--without-pip", str(place), external=True)
            wanted = f"trio-gateway[{extras}] @ {Path(wheel).as_uri()}"
            session.run("python", "-m", "pip", "--python", str(place / "bin" / "python"), "install", "--quiet", wanted)
            session.run(
                str(place / "bin" / "python"), "-W", "error::SyntaxWarning", ".ci/imports.py", *extras.split(), external=True
            )
            if extras == "all" and version == PYTHONS[0]:
                session.run(str(place / "bin" / "python"), "docs/dependencies.py", "--check", external=True)
            shutil.rmtree(place)
    if without:
        session.error(f"not tried, for it is not installed here: Python {', '.join(without)}")
