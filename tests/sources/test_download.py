"""Downloads from a server in this process that drops connections, changes files and refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import types
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.download import answers, fetch
from sgdsm.sources.download.answers import CHUNK
from sgdsm.sources.download.errors import DownloadError, HopelessError
from sgdsm.sources.download.fetch import Job, fetch_all, inside
from sgdsm.sources.download.products import ELSEWHERE, PRODUCTS, download
from sgdsm.sources.readers.files import open_product
from tests.sources import make

BODY = b"".join(hashlib.sha256(bytes([k % 256, k // 256])).digest() for k in range(20_000))  # 640 kB
OTHER = bytes(reversed(BODY))


@dataclass
class Archive:
    """What the server serves, how it misbehaves, and what it was asked."""

    files: dict[str, bytes]
    headers: dict[str, str] = field(default_factory=dict)  # besides the usual ones
    validators: bool = True
    ranges: bool = True
    lengths: bool = True
    drop_after: list[int] = field(default_factory=list)  # bytes, one for each of the first answers
    codes: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # of the first answers
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    sent: int = 0
    together: threading.Barrier | None = None
    address: str = ""

    def url(self, name: str = "a.nc") -> str:
        return f"{self.address}/{name}"


def handler(archive: Archive) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                archive.asked.append((self.path, self.headers["Range"]))
                code, extra = archive.codes.pop(0) if archive.codes else (200, {})
                drop = archive.drop_after.pop(0) if archive.drop_after and code == 200 else None
            if archive.together:
                archive.together.wait(10)
            body = archive.files.get(self.path.lstrip("/"))
            if code == 200 and body is None:
                code = 404
            if code != 200 or body is None:
                self.send_response(code)
                for name, value in {"Content-Length": "0", **extra}.items():
                    self.send_header(name, value)
                self.end_headers()
                return
            self.serve(body, drop, extra)

        def serve(self, body: bytes, drop: int | None, extra: dict[str, str]) -> None:
            tag = f'"{zlib.crc32(body)}"'
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            begin = 0
            if wanted and archive.ranges and self.headers["If-Range"] in (None, tag):
                begin = int(wanted[1])
                self.send_response(206 if begin < len(body) else 416)
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if archive.lengths:
                self.send_header("Content-Length", str(len(body) - begin))
            else:
                self.close_connection = True
            if archive.validators:
                self.send_header("ETag", tag)
            for name, value in {**archive.headers, **extra}.items():
                self.send_header(name, value)
            self.end_headers()
            end = len(body) if drop is None else begin + drop
            self.wfile.write(body[begin:end])
            with lock:
                archive.sent += min(end, len(body)) - begin
            if drop is not None:
                self.close_connection = True

    return Handler


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(fetch, "FIRST_WAIT_S", 0.01)
    archive = Archive({"a.nc": BODY})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(archive))
    archive.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield archive
    server.shutdown()
    server.server_close()
    thread.join()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def interrupted(archive: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int = 200_000) -> int:
    """Leave a part, as a call that was ended does; how many bytes it has."""
    archive.drop_after = [at]
    with monkeypatch.context() as patch:
        patch.setattr(fetch, "TRIES", 1)
        with pytest.raises(DownloadError, match="the connection broke, 1 times; what came is kept"):
            fetch_all([Job(archive.url(), "a.nc")], folder)
    kept = (folder / "a.nc.part").stat().st_size
    assert at - CHUNK < kept <= at
    archive.asked.clear()
    archive.sent = 0
    return kept


def test_a_file_and_what_is_there_already(archive, tmp_path):
    job = Job(archive.url(), "2016/a.nc", size=len(BODY), checksum=f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert fetch_all([job], tmp_path / "new") == 1
    assert (tmp_path / "new/2016/a.nc").read_bytes() == BODY
    assert names(tmp_path) == ["a.nc"]
    assert fetch_all([job], tmp_path / "new") == 0
    assert len(archive.asked) == 1


def test_a_file_of_another_size_is_fetched_again(archive, tmp_path):
    (tmp_path / "a.nc").write_bytes(b"half")
    assert fetch_all([Job(archive.url(), "a.nc", size=len(BODY))], tmp_path) == 1
    assert (tmp_path / "a.nc").read_bytes() == BODY


def test_a_dropped_connection_goes_on_where_it_broke(archive, tmp_path):
    archive.drop_after = [100_000, 300_000]
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    begins = [int((asked[1] or "bytes=0-")[6:-1]) for asked in archive.asked]
    assert len(begins) == 3
    assert begins[0] == 0 < 100_000 - CHUNK < begins[1] <= 100_000 < 400_000 - 2 * CHUNK < begins[2] <= 400_000
    assert archive.sent < len(BODY) + 2 * CHUNK


def test_any_number_of_drops_is_borne_while_bytes_come(archive, tmp_path):
    archive.drop_after = [50_000] * 10
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    assert archive.sent < len(BODY) + 10 * CHUNK


def test_the_next_call_goes_on_with_the_part(archive, tmp_path, monkeypatch):
    kept = interrupted(archive, tmp_path, monkeypatch)
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    assert archive.asked == [("/a.nc", f"bytes={kept}-")]
    # the server counts after it has written: the client may be faster
    wait_for(archive, len(BODY) - kept)
    assert archive.sent == len(BODY) - kept
    assert names(tmp_path) == ["a.nc"]


def test_a_changed_file_starts_afresh(archive, tmp_path, monkeypatch):
    interrupted(archive, tmp_path, monkeypatch)
    archive.files["a.nc"] = OTHER
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == OTHER
    assert archive.sent == len(OTHER)


def test_a_server_that_ignores_if_range_is_noticed(archive, tmp_path, monkeypatch):
    kept = interrupted(archive, tmp_path, monkeypatch)
    archive.files["a.nc"] = OTHER
    described = tmp_path / "a.nc.part.json"
    state = json.loads(described.read_text())
    # what the server would take for its version, were it not for the size
    described.write_text(json.dumps({**state, "validator": f'"{zlib.crc32(OTHER)}"', "size": len(OTHER) + 5}))
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert [asked[1] for asked in archive.asked] == [f"bytes={kept}-", None]
    assert (tmp_path / "a.nc").read_bytes() == OTHER


def test_a_part_of_another_address_is_not_glued(archive, tmp_path, monkeypatch):
    interrupted(archive, tmp_path, monkeypatch)
    archive.files["b.nc"] = OTHER
    fetch_all([Job(archive.url("b.nc"), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == OTHER
    assert archive.asked == [("/b.nc", None)]


@pytest.mark.parametrize("description", [None, "{", '{"url": 1}'])
def test_a_part_that_says_not_of_what_starts_afresh(archive, tmp_path, description):
    (tmp_path / "a.nc.part").write_bytes(OTHER[:1000])
    if description:
        (tmp_path / "a.nc.part.json").write_text(description)
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY


@pytest.mark.parametrize("setting", ["ranges", "validators"])
def test_without_ranges_or_versions_it_starts_afresh(archive, tmp_path, setting):
    setattr(archive, setting, False)
    archive.drop_after = [200_000]
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    assert archive.sent == 200_000 + len(BODY)


def test_a_truncated_answer_is_no_file(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "TRIES", 2)
    archive.drop_after = [100, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"a\.nc: the connection broke, 2 times"):
        fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert not (tmp_path / "a.nc").exists()


def test_a_truncated_answer_without_a_length_is_no_file(archive, tmp_path):
    archive.lengths = False
    archive.drop_after = [300_000]
    fetch_all([Job(archive.url(), "a.nc", size=len(BODY))], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    archive.drop_after = [0] * fetch.TRIES
    with pytest.raises(DownloadError, match=f"ended after 0 of {len(BODY)} bytes, {fetch.TRIES} times"):
        fetch_all([Job(archive.url(), "b.nc", size=len(BODY))], tmp_path)
    assert not (tmp_path / "b.nc").exists()


def test_a_size_that_is_not_the_expected_one(archive, tmp_path):
    with pytest.raises(DownloadError, match=f"has {len(BODY)} bytes, expected 7"):
        fetch_all([Job(archive.url(), "a.nc", size=7)], tmp_path)
    assert names(tmp_path) == []


def encoded(kind: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(kind, body).digest()).decode()


HEADERS = [
    ("Content-MD5", lambda body: encoded("md5", body)),
    ("Digest", lambda body: f"MD5={encoded('md5', body)}"),
    ("Digest", lambda body: f"md5={encoded('md5', BODY)},SHA-256={encoded('sha256', body)}"),
    ("Repr-Digest", lambda body: f"sha-256=:{encoded('sha256', body)}:"),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_checksum_in_the_headers_decides(archive, tmp_path, name, value):
    archive.headers = {name: value(BODY)}
    fetch_all([Job(archive.url(), "right.nc")], tmp_path)
    archive.headers = {name: value(OTHER)}
    with pytest.raises(DownloadError, match=r"wrong checksum, (md5|sha256) [0-9a-f]+, expected [0-9a-f]+"):
        fetch_all([Job(archive.url(), "wrong.nc")], tmp_path)
    assert names(tmp_path) == ["right.nc"]


def test_a_checksum_from_before_the_drop_holds_for_the_whole(archive, tmp_path, monkeypatch):
    archive.headers = {"Content-MD5": encoded("md5", OTHER)}
    interrupted(archive, tmp_path, monkeypatch)
    archive.headers = {}
    with pytest.raises(DownloadError, match="wrong checksum"):
        fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("text", ["nonsense", "!!!", "", "md5=AAAA"])
def test_a_header_without_a_checksum_is_none(text):
    assert answers.declared({"Digest": text, "Content-MD5": text}) is None


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("md5", "{hex}"),
        ("md5", "{hex}  a.nc"),
        ("sha256", "{other} *aa.nc\n{hex} *a.nc"),
        ("md5", "MD5 (a.nc) = {hex}"),
    ],
)
def test_a_checksum_beside_the_file_decides(archive, tmp_path, kind, form):
    sides = {n: hashlib.new(kind, b).hexdigest() for n, b in (("hex", BODY), ("other", OTHER))}
    archive.files[f"a.nc.{kind}"] = form.format(**sides).encode()
    job = Job(archive.url(), "a.nc", sidecar=archive.url(f"a.nc.{kind}"))
    fetch_all([job], tmp_path / "right")
    archive.files["a.nc"] = OTHER
    with pytest.raises(DownloadError, match=f"wrong checksum, {kind}"):
        fetch_all([job], tmp_path / "wrong")
    assert names(tmp_path) == ["a.nc"]


def test_a_whole_part_waits_for_its_checksum(archive, tmp_path):
    archive.files["a.nc.md5"] = hashlib.md5(BODY).hexdigest().encode()
    archive.codes = [(200, {}), (503, {})]
    fetch_all([Job(archive.url(), "a.nc", sidecar=archive.url("a.nc.md5"))], tmp_path)
    assert [path for path, _ in archive.asked] == ["/a.nc", "/a.nc.md5", "/a.nc.md5"]


def test_a_sidecar_without_a_checksum(archive, tmp_path):
    archive.files["a.nc.md5"] = b"sorry"
    with pytest.raises(DownloadError, match=r"a\.nc\.md5: holds no md5 checksum of a\.nc"):
        fetch_all([Job(archive.url(), "a.nc", sidecar=archive.url("a.nc.md5"))], tmp_path)


def test_a_server_that_is_ill_for_a_while(archive, tmp_path):
    archive.codes = [(503, {}), (503, {"Retry-After": "0"}), (429, {})]
    fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert (tmp_path / "a.nc").read_bytes() == BODY
    assert len(archive.asked) == 4


def test_a_server_that_stays_ill(archive, tmp_path):
    archive.codes = [(500, {})] * 9
    with pytest.raises(DownloadError, match=rf"a\.nc: HTTP 500 \(.*\), {fetch.TRIES} times"):
        fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert len(archive.asked) == fetch.TRIES


def test_no_server_is_told_once(archive, tmp_path):
    jobs = [Job(f"http://127.0.0.1:9/{k}.nc", f"{k}.nc") for k in range(5)]
    with pytest.raises(HopelessError, match=r"127\.0\.0\.1:9/.\.nc: no connection, 5 times"):
        fetch_all(jobs, tmp_path, workers=1)


def test_a_missing_file_does_not_hold_up_the_others(archive, tmp_path):
    jobs = [Job(archive.url(n), n) for n in ("no1.nc", "a.nc", "no2.nc")]
    with pytest.raises(DownloadError, match=r"^2 of 3 files failed, the first: .*/no1\.nc: HTTP 404 .*no such day"):
        fetch_all(jobs, tmp_path, workers=1)
    assert names(tmp_path) == ["a.nc"]


@pytest.mark.parametrize("code", [401, 403])
def test_a_login_that_is_missing_ends_all_at_once(archive, tmp_path, code):
    archive.codes = [(code, {})]
    jobs = [Job(archive.url(), f"{k}.nc") for k in range(4)]
    with pytest.raises(HopelessError, match=rf"HTTP {code} .*an account of 127\.0\.0\.1, in ~/\.netrc: machine"):
        fetch_all(jobs, tmp_path, workers=1)
    assert len(archive.asked) == 1


def test_a_login_page_is_no_file(archive, tmp_path):
    archive.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(HopelessError, match="a web page instead of a file"):
        fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("data.gesdisc.earthdata.nasa.gov", "urs.earthdata"),
        ("dap.ceda.ac.uk", "CEDA account"),
        ("notnasa.gov", "notnasa"),
    ],
)
def test_which_login_is_needed(host, words):
    answer = types.SimpleNamespace(status_code=401, reason="Unauthorized", url=f"https://{host}/x", headers={})
    with pytest.raises(HopelessError, match=words):
        answers.check_answer("https://somebody:secret@archive.org/x.nc?token=secret", answer)


def test_errors_tell_no_secrets(archive, tmp_path):
    url = archive.url("no.nc").replace("http://", "http://somebody:word@") + "?token=word"
    with pytest.raises(DownloadError, match=r"no\.nc: HTTP 404") as told:
        fetch_all([Job(url, "a.nc")], tmp_path)
    assert "word" not in str(told.value)


def test_several_at_once(archive, tmp_path):
    archive.files = {f"{k}.nc": bytes([k]) * 1000 for k in range(6)}
    archive.together = threading.Barrier(3)  # answers only when three are asked for
    assert fetch_all([Job(archive.url(n), n) for n in archive.files], tmp_path, workers=3) == 6
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == archive.files


@pytest.mark.parametrize("path", ["../a.nc", "/tmp/a.nc", "b/../../a.nc", "..", "", ".", "a\0.nc"])
def test_nothing_is_written_outside_the_folder(archive, tmp_path, path):
    with pytest.raises(DownloadError, match=r"outside|not a name"):
        fetch_all([Job(archive.url(), path)], tmp_path / "in")
    assert not archive.asked
    assert names(tmp_path) == []


def test_a_link_that_leads_outside_is_not_followed(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/out").symlink_to(tmp_path)
    with pytest.raises(DownloadError, match="outside"):
        inside(tmp_path / "in", "out/a.nc")
    assert inside(tmp_path / "in", "x/../a.nc") == tmp_path / "in/a.nc"


def test_two_files_of_one_name(archive, tmp_path):
    with pytest.raises(DownloadError, match=r"a\.nc: two files of that name"):
        fetch_all([Job(archive.url(), "a.nc"), Job(archive.url("b.nc"), "a.nc")], tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_in_a_line(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "own", lambda path, flags=0: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(HopelessError, match=f"{tmp_path}: the disk is full; make room"):
        fetch_all([Job(archive.url(), "a.nc")], tmp_path)
    assert not (tmp_path / "a.nc").exists()


def test_ctrl_c_leaves_parts_that_the_next_call_goes_on_with(archive, tmp_path, monkeypatch):
    archive.files = {f"{k}.nc": BODY for k in range(3)}
    jobs = [Job(archive.url(n), n) for n in archive.files]
    archive.drop_after = [200_000] * 3
    broken = threading.Event()

    def press(ended, seconds):
        assert broken.wait(10)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "_wait", press)
        patch.setattr(fetch, "FIRST_WAIT_S", 60.0)
        watch = threading.Thread(target=lambda: (wait_for(archive, 600_000), wait_for_parts(tmp_path), broken.set()))
        watch.start()
        with pytest.raises(KeyboardInterrupt, match="the parts are kept"):
            fetch_all(jobs, tmp_path, workers=3)
        watch.join()
    assert not [n for n in names(tmp_path) if n.endswith(".nc")]
    kept = sum(path.stat().st_size for path in tmp_path.glob("*.part"))
    assert kept > 0
    archive.sent = 0
    assert fetch_all(jobs, tmp_path) == 3
    assert archive.sent == 3 * len(BODY) - kept
    assert all((tmp_path / n).read_bytes() == BODY for n in archive.files)


def wait_for_parts(folder: Path) -> None:
    """Until what was received is on the disk: sent is not yet written."""
    pause = threading.Event()
    for _ in range(900):
        if sum(path.stat().st_size > 0 for path in folder.glob("*.part")) == 3:
            return
        pause.wait(0.01)


def wait_for(archive: Archive, count: int) -> None:
    pause = threading.Event()
    while archive.sent < count:
        pause.wait(0.01)


# products


@pytest.mark.parametrize(
    ("kind", "group", "version", "text"),
    [("COMBINED", "SSMV", None, "v09.1"), ("ACTIVE", "SSMS", 8.1, "v08.1"), ("PASSIVE", "SSMV", "v05.2", "v05.2")],
)
def test_esa_cci_by_the_command(archive, tmp_path, run_command, kind, group, version, text):
    days = ("20151231", "20160101")
    archive.files = {
        f"cci/{kind}/{text}/{d[:4]}/ESACCI-SOILMOISTURE-L3S-{group}-{kind}-{d}000000-f{text}.nc": BODY for d in days
    }
    words = ["product=esa_cci", "start=2015-12-31", "end=2016-01-01", "output=in", f"kind={kind}", "workers=2"]
    words += [f"version={version}"] * (version is not None)
    code, out, err = run_command("download", *words, f"base_url={archive.url('cci')}")
    assert (code, out) == (0, "2 files in in, 2 of them new\n"), err
    assert sorted(p.parent.name for p in tmp_path.glob("in/*/*.nc")) == ["2015", "2016"]
    code, out, _ = run_command("download", *words, f"base_url={archive.url('cci')}/")
    assert (code, out) == (0, "2 files in in, 0 of them new\n")


def test_the_reader_finds_what_came(archive, tmp_path):
    (tmp_path / "far").mkdir()
    for day in ("20160101", "20160102"):
        path = make.esa_cci(tmp_path / "far", day, version="09.1")
        archive.files[f"COMBINED/v09.1/2016/{path.name}"] = path.read_bytes()
    PRODUCTS["esa_cci"]("2016-01-01", "2016-01-02", str(tmp_path / "in"), base_url=archive.address)
    assert open_product("esa_cci", tmp_path / "in").sizes["time"] == 2


def test_chirps_is_a_file_a_year(archive, tmp_path):
    archive.files = {f"p05/chirps-v2.0.{year}.days_p05.nc": BODY for year in (2015, 2016)}
    PRODUCTS["chirps"]("2015-12-31", "2016-01-02", str(tmp_path), kind="p05", base_url=archive.address)
    assert names(tmp_path) == ["chirps-v2.0.2015.days_p05.nc", "chirps-v2.0.2016.days_p05.nc"]


def test_links(archive, tmp_path):
    archive.files = {"x/a.nc": BODY, "x/a.nc.sha256": hashlib.sha256(BODY).hexdigest().encode(), "y/b.hdf": OTHER}
    listed = tmp_path / "links.txt"
    listed.write_text("# mine\n\n" + "\n".join(archive.url(n) for n in archive.files) + "\n")
    download({"product": "links", "links": str(listed), "output": str(tmp_path / "in"), "workers": None})
    assert names(tmp_path / "in") == ["a.nc", "b.hdf"]
    archive.files["x/a.nc"] = OTHER
    with pytest.raises(DownloadError, match="wrong checksum, sha256"):
        PRODUCTS["links"](str(listed), str(tmp_path / "again"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file:///etc/passwd", "expected the http or https address"),
        ("http://host/", "expected the http or https address"),
        ("http://127.0.0.1/%2e%2e%2fa.nc", "found a path"),
    ],
)
def test_links_that_are_no_files(tmp_path, text, message):
    (tmp_path / "links.txt").write_text(text)
    with pytest.raises((ConfigError, DownloadError), match=message):
        PRODUCTS["links"](str(tmp_path / "links.txt"), str(tmp_path / "in"))


@pytest.fixture
def earthdata(monkeypatch, tmp_path):
    """earthaccess as far as it is used; what it was called with."""
    calls: dict[str, object] = {"found": ["one", "two"], "authenticated": True}
    for name in ("EARTHDATA_TOKEN", "EARTHDATA_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    module = types.ModuleType("earthaccess")

    def login(strategy):
        calls["strategy"] = strategy
        return types.SimpleNamespace(authenticated=calls["authenticated"])

    def search_data(**words):
        calls["search"] = words
        return calls["found"]

    def get(granules, local_path, threads):
        calls["download"] = (granules, local_path, threads)
        return [Path(local_path) / name for name in granules]

    module.login, module.search_data, module.download = login, search_data, get
    monkeypatch.setitem(sys.modules, "earthaccess", module)
    return calls


@pytest.mark.parametrize(
    ("options", "short_name", "version"),
    [
        ({}, "SPL3SMP", "009"),
        ({"kind": "SPL3SMP_E"}, "SPL3SMP_E", "006"),
        ({"version": 8}, "SPL3SMP", "008"),
        ({"version": "005", "kind": "SPL3SMP_E"}, "SPL3SMP_E", "005"),
    ],
)
def test_smap_asks_earthaccess(earthdata, tmp_path, capsys, options, short_name, version):
    PRODUCTS["smap"]("2016-01-01", "2016-01-02", str(tmp_path), workers=3, **options)
    temporal = ("2016-01-01", "2016-01-02")
    assert earthdata["search"] == {"short_name": short_name, "version": version, "temporal": temporal}
    assert earthdata["download"] == (["one", "two"], str(tmp_path), 3)
    assert earthdata["strategy"] == "netrc"
    assert capsys.readouterr().out == f"2 files in {tmp_path}\n"


def test_smap_uses_a_token_where_there_is_one(earthdata, tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", "x")
    PRODUCTS["smap"]("2016-01-01", "2016-01-02", str(tmp_path))
    assert earthdata["strategy"] == "environment"


def test_smap_without_a_login_or_files(earthdata, tmp_path):
    earthdata["found"] = []
    with pytest.raises(DownloadError, match="SPL3SMP version 009: the archive has nothing from 2016-01-01 to"):
        PRODUCTS["smap"]("2016-01-01", "2016-01-02", str(tmp_path))
    earthdata["authenticated"] = False
    with pytest.raises(DownloadError, match="the login was refused; it needs an Earthdata login"):
        PRODUCTS["smap"]("2016-01-01", "2016-01-02", str(tmp_path))


@pytest.fixture
def store(monkeypatch):
    """cdsapi as far as it is used; its requests, and what it writes."""
    calls: dict[str, object] = {"requests": [], "writes": b"CDF", "error": None}

    class Client:
        def retrieve(self, name, request, target):
            calls["requests"].append((name, request, target))
            if calls["error"]:
                raise Exception(calls["error"])
            Path(target).write_bytes(calls["writes"])

    module = types.ModuleType("cdsapi")
    module.Client = Client
    monkeypatch.setitem(sys.modules, "cdsapi", module)
    return calls


def test_era5_land_is_a_request_a_month(store, tmp_path):
    words = {"variables": ["total_precipitation"], "bbox": [68, 6, 98, 36]}
    PRODUCTS["era5_land"]("2016-01-31", "2016-02-01", str(tmp_path / "in"), **words)
    (name, january, _), (_, february, target) = store["requests"]
    assert name == "reanalysis-era5-land"
    assert january | {"day": 0, "time": 0} == {
        "variable": ["total_precipitation"],
        "year": "2016",
        "month": "01",
        "day": 0,
        "time": 0,
        "data_format": "netcdf",
        "download_format": "unarchived",
        "area": [36, 68, 6, 98],  # north, west, south, east
    }
    assert january["time"][::23] == ["00:00", "23:00"]
    assert (january["day"][-1], february["day"][-1]) == ("31", "29")
    assert target.endswith("era5_land_201602.nc.part")
    assert [p.name for p in sorted((tmp_path / "in").glob("*.nc"))] == ["era5_land_201601.nc", "era5_land_201602.nc"]


def test_era5_land_goes_on_with_the_missing_month(store, tmp_path):
    PRODUCTS["era5_land"]("2016-01-01", "2016-01-31", str(tmp_path))
    store["error"] = "Missing/incomplete configuration file: .cdsapirc"
    with pytest.raises(DownloadError, match=r"cdsapi: Missing/incomplete .*; 2016-02: needs a key in ~/\.cdsapirc"):
        PRODUCTS["era5_land"]("2016-01-01", "2016-03-01", str(tmp_path))
    store["error"] = None
    store["requests"].clear()
    PRODUCTS["era5_land"]("2016-01-01", "2016-03-01", str(tmp_path))
    assert [request["month"] for _, request, _ in store["requests"]] == ["02", "03"]


def test_era5_land_of_other_variables_is_not_taken_for_it(store, tmp_path):
    PRODUCTS["era5_land"]("2016-01-01", "2016-01-31", str(tmp_path))
    with pytest.raises(DownloadError, match=r"era5_land_201601\.nc: was fetched with other variables or another bbox"):
        PRODUCTS["era5_land"]("2016-01-01", "2016-01-31", str(tmp_path), variables=["snow_cover"])


def test_era5_land_that_comes_as_a_zip(store, tmp_path):
    store["writes"] = b"PK\3\4"
    with pytest.raises(DownloadError, match="a zip archive came, expected NetCDF"):
        PRODUCTS["era5_land"]("2016-01-01", "2016-01-31", str(tmp_path))
    assert not (tmp_path / "era5_land_201601.nc").exists()


@pytest.mark.parametrize("name", ["requests", "earthaccess", "cdsapi"])
def test_a_library_that_is_not_installed(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    product = {"requests": "esa_cci", "earthaccess": "smap", "cdsapi": "era5_land"}[name]
    with pytest.raises(DownloadError, match=rf"needs {name}: pip install 'sgdsm\[download\]'"):
        PRODUCTS[product]("2016-01-01", "2016-01-02", str(tmp_path))


@pytest.mark.parametrize("product", sorted(ELSEWHERE))
def test_other_products_are_told_where_to_get(run_command, product):
    code, out, _ = run_command("download", f"product={product}")
    assert code == 0
    assert re.search(r"https://\S+", out)
    assert "account" in out.lower()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "product is not given"),
        ("product=esacci", r"product=esacci \(did you mean 'esa_cci'\?\): expected one of"),
        ("product=esa_cci start=2016-01-01 output=x", "end is not given: pass end="),
        ("product=esa_cci start=2016-01-02 end=2016-01-01 output=x", "ends before it starts"),
        ("product=esa_cci start=2016-13-02 end=2016-01-01 output=x", "expected days like"),
        ("product=esa_cci start=2016-01-01 end=2016-01-01 output=x kind=SUM", "kind=SUM: expected one of COMBINED"),
        ("product=esa_cci start=2016-01-01 end=2016-01-01 output=x version=new", "version=new: expected one like"),
        ("product=esa_cci start=2016-01-01 end=2016-01-01 output=x workers=0", "workers=0: expected at least 1"),
        ("product=esa_cci start=2016-01-01 end=2016-01-01 output=x workers=two", "workers='two': expected int"),
        ("product=chirps start=2016-01-01 end=2016-01-01 output=x bbox=[1,2,3,4]", "chirps has no such option; it has"),
        ("product=chirps start=2016-01-01 end=2016-01-01 output=x kind=p10", "kind=p10: expected p25 or p05"),
        ("product=smap start=2016-01-01 end=2016-01-01 output=x kind=SPL4", "kind=SPL4: expected one of SPL3SMP"),
        ("product=links links=none.txt output=x", "links=none.txt: no such file"),
    ],
)
def test_mistakes_in_the_words(run_command, tmp_path, words, message):
    code, _, err = run_command("download", *words.split())
    assert code == 1
    assert re.match(f"error: .*{message}", err)
    assert len(err.splitlines()) == 1
    assert names(tmp_path) == []
