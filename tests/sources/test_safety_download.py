"""Servers that hold a download, or lead it elsewhere."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.download import fetch, products
from sgdsm.sources.download.errors import DownloadError, HopelessError
from sgdsm.sources.download.fetch import Job, fetch_all, inside

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nETag: "1"\r\n\r\n'
SHORT = 0.5 / 60  # minutes


@pytest.fixture
def server(monkeypatch) -> Iterator[Callable[[Callable[[Any], None]], str]]:
    """Gives the address of a server that answers each connection with a function."""
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(fetch, "GRACE_S", 0.2)
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def start(answer: Callable[[Any], None]) -> str:
        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(4096)
                    answer(connection)
                except OSError:
                    pass  # it has gone

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}/a.nc"

    yield start
    over.set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def drips(first: bytes) -> Callable[[Any], None]:
    def answer(connection: Any) -> None:
        connection.sendall(first)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            connection.sendall(b"x")
            time.sleep(0.02)

    return answer


def test_a_server_that_drips_is_given_up(server, tmp_path):
    url = server(drips(HEAD + bytes(20_000)))
    with pytest.raises(DownloadError, match=r"a.nc: not complete after 0.008\S* minutes .*; the part is kept"):
        fetch_all([Job(url, "a.nc")], tmp_path, deadline_minutes=SHORT)
    assert (tmp_path / "a.nc.part").stat().st_size >= 16_384
    assert not (tmp_path / "a.nc").exists()


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_a_server_whose_answer_never_begins_is_given_up_for_all_files(first, server, tmp_path):
    url = server(drips(first))
    with pytest.raises(HopelessError, match="not complete after"):
        fetch_all([Job(url, "a.nc"), Job(url, "b.nc")], tmp_path, workers=1, deadline_minutes=SHORT)


def test_a_silent_server_is_given_up(server, tmp_path):
    url = server(lambda connection: time.sleep(20))
    with pytest.raises(HopelessError, match="not complete after"):
        fetch_all([Job(url, "a.nc")], tmp_path, deadline_minutes=SHORT)


def test_the_other_files_have_their_turn(server, tmp_path):
    turn = iter([drips(HEAD + bytes(20_000)), *3 * [lambda c: c.sendall(HEAD + bytes(100_000))]])
    url = server(lambda connection: next(turn)(connection))
    jobs = [Job(url, name) for name in ("held.nc", "b.nc", "c.nc")]
    with pytest.raises(DownloadError, match="not complete after"):
        fetch_all(jobs, tmp_path, workers=1, deadline_minutes=SHORT)
    assert (tmp_path / "b.nc").stat().st_size == (tmp_path / "c.nc").stat().st_size == 100_000


@pytest.mark.parametrize("after", ["999999999", "9" * 400, "\xb2"])
def test_retry_after_without_end_comes_to_an_end(after, server, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fetch, "LONGEST_WAIT_S", 0.01)

    def busy(connection: Any) -> None:
        asked.append(1)
        head = f"HTTP/1.1 503 Busy\r\nRetry-After: {after}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode("latin-1"))

    with pytest.raises(DownloadError, match=r"a.nc: HTTP 503 \(Busy\), 5 times"):
        fetch_all([Job(server(busy), "a.nc")], tmp_path)
    assert len(asked) == fetch.TRIES


def test_a_byte_at_each_try_comes_to_an_end(server, tmp_path):
    asked = []

    def one_more(connection: Any) -> None:
        asked.append(1)
        connection.sendall(HEAD.replace(b'ETag: "1"\r\n', b"") + bytes(8192 * len(asked)))
        time.sleep(0.05)

    with pytest.raises(DownloadError, match="not complete after"):
        fetch_all([Job(server(one_more), "a.nc")], tmp_path, deadline_minutes=SHORT)


def whole(connection: Any) -> None:
    connection.sendall(HEAD + bytes(100_000))


@pytest.mark.parametrize("name", ["a.nc.part", "a.nc.part.json"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_part_that_is_a_link_is_not_written_through(link, name, server, tmp_path):
    """Whatever the description beside it says."""
    url = server(whole)
    victim, folder = tmp_path / "victim", tmp_path / "output"
    folder.mkdir()
    victim.write_text("precious")
    (folder / "a.nc.part.json").write_text(
        f'{{"url": "{url}", "validator": "\\"1\\"", "size": 100000, "checksum": null}}'
    )
    (folder / "a.nc.part").write_bytes(bytes(8))
    (folder / name).unlink()
    if link == "symbolic":
        (folder / name).symlink_to(victim)
    else:
        (folder / name).hardlink_to(victim)
    assert fetch_all([Job(url, "a.nc")], folder) == 1
    assert victim.read_text() == "precious"
    assert [path.name for path in folder.iterdir()] == ["a.nc"]
    assert (folder / "a.nc").read_bytes() == bytes(100_000)
    assert not (folder / "a.nc").is_symlink()


def test_a_part_that_is_a_pipe_is_not_waited_for(server, tmp_path):
    import os

    for name in ("a.nc.part", "a.nc.part.json"):
        os.mkfifo(tmp_path / name)
    assert fetch_all([Job(server(whole), "a.nc")], tmp_path) == 1


@pytest.mark.parametrize(
    "name", [".bashrc", "x/.ssh/a", "a\nb.nc", "a\x1b[2Jb.nc", "a\u202eb.nc", "a\\b.nc", "a.nc.part", "a.nc.part.json"]
)
def test_names_that_mislead_are_refused(name, tmp_path):
    with pytest.raises(DownloadError, match="expected a name without control characters") as error:
        inside(tmp_path, name)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1/%2Ebashrc", "expected a name without"),
        ("http://127.0.0.1/a%0Ab.nc", "expected a name without"),
        ("http://127.0.0.1/a%2Fb.nc", "found a path"),
        ("http://127.0.0.1/a\x1b[2Jb.nc", "expected the http or https address"),
    ],
)
def test_a_list_of_such_names(url, told, run_command, tmp_path):
    (tmp_path / "links.txt").write_text(f"{url}\n")
    code, _, err = run_command("download", "product=links", "links=links.txt", "output=there")
    assert code == 1
    assert told in err
    assert err.strip().isprintable()
    assert not list(tmp_path.glob("there/**/*"))


def test_a_list_that_is_no_text(tmp_path):
    (tmp_path / "links").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no text"):
        products.links(str(tmp_path / "links"), str(tmp_path))


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_deadlines_that_are_none(minutes, run_command, tmp_path):
    (tmp_path / "links.txt").write_text("http://127.0.0.1:9/a.nc")
    words = ["product=links", "links=links.txt", "output=there", f"deadline_minutes={minutes}"]
    code, _, err = run_command("download", *words)
    assert code == 1
    assert "deadline_minutes=" in err
    assert "expected" in err


def test_era5_land_writes_through_no_link(tmp_path, monkeypatch):
    class Client:
        def retrieve(self, name: str, request: Any, target: str) -> None:
            Path(target).write_bytes(b"CDF")

    class Library:
        pass

    Library.Client = Client
    monkeypatch.setattr(products, "library", lambda name: Library)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("era5_land_201601.nc.part", "era5_land_201601.request.json"):
        (tmp_path / name).symlink_to(victim)
    products.era5_land("2016-01-01", "2016-01-02", str(tmp_path))
    assert victim.read_text() == "precious"
