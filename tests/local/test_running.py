"""Starting, counting, logging and stopping."""

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from together_embed.local import LocalEndpoint

from .conftest import KEY, Ask


def server_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "together-embed-local"]


def test_counts_are_exact_from_many_threads(ask: Ask) -> None:
    with LocalEndpoint(remember_texts=True, dimension=4) as endpoint:
        endpoint.fail(500, times=10)

        def call(number: int) -> int:
            return ask(endpoint, f"text {number % 7}", "every time").status_code

        with ThreadPoolExecutor(8) as pool:
            counted = Counter(pool.map(call, range(200)))
        assert counted == {200: 190, 500: 10}
        assert (endpoint.requests, endpoint.failed, endpoint.texts) == (200, 10, 380)
        assert endpoint.seen["every time"] == 190
        assert sum(endpoint.seen.values()) == 380
        assert 1 <= endpoint.in_flight_max <= 8


def test_posts_to_any_path_count_and_other_methods_do_not(ask: Ask) -> None:
    with (
        LocalEndpoint() as endpoint,
        socket.create_connection(
            ("127.0.0.1", endpoint.port), timeout=10
        ) as connection,
    ):
        for line in ("GET /v1/embeddings", "POST /elsewhere"):
            connection.sendall(f"{line} HTTP/1.1\r\nHost: local\r\n\r\n".encode())
            answer = b""
            while b"}}" not in answer:  # an older aiohttp sends it in two pieces
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 40")
        assert (endpoint.requests, endpoint.failed) == (1, 1)


def test_connections_are_counted_and_kept_alive(ask: Ask) -> None:
    with LocalEndpoint() as endpoint:
        for _ in range(3):
            ask(endpoint, "t")
        assert endpoint.connections == 1
        with socket.create_connection(("127.0.0.1", endpoint.port)):
            ask(endpoint, "t")
        assert endpoint.connections == 2
        assert [entry.connection for entry in endpoint.log] == [1, 1, 1, 1]


def test_an_idle_connection_is_closed_after_a_while() -> None:
    with (
        LocalEndpoint(keep_alive=0.05) as endpoint,
        socket.create_connection(
            ("127.0.0.1", endpoint.port), timeout=10
        ) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: local\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404")


def test_the_log_is_bounded_and_tells_what_came_without_the_key(ask: Ask) -> None:
    with LocalEndpoint(log_size=2) as endpoint:
        ask(endpoint, "first")
        ask(endpoint, "a", "b", encoding_format="base64")
        ask(endpoint, "c", key=None)
        accepted, refused = endpoint.log
    assert (accepted.status, accepted.texts, accepted.bearer) == (200, 2, True)
    assert accepted.fields == ("encoding_format", "input", "model")
    assert accepted.headers["content-type"] == "application/json"
    assert (refused.status, refused.texts, refused.bearer) == (401, 0, False)
    assert KEY not in repr(endpoint.log)


def test_a_header_that_repeats_the_key_stays_out_of_the_log() -> None:
    from together_embed.local.tally import without_secrets

    headers = {"Authorization": f"Bearer {KEY}", "X-Copy": f"<{KEY}>", "Accept": "*"}
    assert without_secrets(headers) == {"accept": "*"}


def test_texts_are_remembered_only_where_asked_for() -> None:
    with LocalEndpoint() as endpoint, pytest.raises(RuntimeError, match="remember"):
        _ = endpoint.seen


def test_it_stops_with_open_connections_and_answers_that_never_come(
    ask: Ask, recwarn: pytest.WarningsRecorder
) -> None:
    with LocalEndpoint() as endpoint:
        ask(endpoint, "t")
        endpoint.fail("hang")
        hanging = threading.Thread(target=_ignore_errors, args=(ask, endpoint))
        hanging.start()
        while endpoint.requests < 2:
            pass
        assert len(server_threads()) == 1
    hanging.join()
    assert server_threads() == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", endpoint.port))
    assert list(recwarn) == []


def _ignore_errors(ask: Ask, endpoint: LocalEndpoint) -> None:
    with pytest.raises(OSError, match="onnection"):
        ask(endpoint, "t")


def test_it_runs_once_and_has_an_address_only_when_it_runs() -> None:
    endpoint = LocalEndpoint()
    with pytest.raises(RuntimeError, match="not started"):
        _ = endpoint.base_url
    with endpoint, pytest.raises(RuntimeError, match="another one"):
        endpoint.__enter__()
    with pytest.raises(RuntimeError, match="another one"):
        endpoint.__enter__()


def test_an_address_that_is_taken_is_an_error_at_once() -> None:
    with LocalEndpoint() as endpoint, pytest.raises(OSError, match="in use"):
        LocalEndpoint(port=endpoint.port).__enter__()
    with pytest.raises(ValueError, match="at least 1"):
        LocalEndpoint(dimension=0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_a_forked_child_uses_the_server_and_cannot_stop_it(ask: Ask) -> None:
    # In a process of its own: pytest's has threads that a fork would not carry over.
    program = """
import os, requests, warnings
from together_embed.local import LocalEndpoint
warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork")
def ask(endpoint):
    return requests.post(
        endpoint.base_url + "/embeddings",
        json={"model": "m", "input": "t"}, headers={"Authorization": "Bearer k"},
    ).status_code
with LocalEndpoint() as endpoint:
    child = os.fork()
    if child == 0:
        status = ask(endpoint)
        endpoint.__exit__(None, None, None)
        os._exit(0 if status == 200 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(endpoint) == 200
    print(endpoint.requests)
"""
    assert _run("-c", program) == "2"


def test_importing_the_package_loads_no_server() -> None:
    program = (
        "import sys, pytest, together_embed; before = set(sys.modules);"
        "import together_embed.local, together_embed.local.fixture;"
        "print(*sorted(set(sys.modules) - before))"
    )
    expected = "together_embed.local together_embed.local.fixture"
    assert _run("-c", program) == expected


def test_the_fixture_points_the_environment_to_a_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("user")
    (folder / "test_user.py").write_text(
        "import os\n"
        "def test_it(together_endpoint):\n"
        "    assert os.environ['TOGETHER_BASE_URL'] == together_endpoint.base_url\n"
        "    assert os.environ['TOGETHER_API_KEY']\n"
        "def test_after():\n"
        "    assert os.environ['TOGETHER_BASE_URL'] == 'before'\n"
    )
    plugin = ("-p", "together_embed.local.fixture", "-p", "no:cacheprovider")
    said = _run("-m", "pytest", "-q", *plugin, str(folder), cwd=str(folder))
    assert "2 passed" in said


def _run(*arguments: str, cwd: str | None = None) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "TOGETHER_BASE_URL": "before",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout.strip()
