"""The HTTP client resumes whatever breaks off; a wheel is read as a zip, and only the member that was asked for."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fobench
from fobench.assets import download as fetch
from fobench.assets import files, wheels
from fobench.assets.download import DownloadLink, SourceError, Unreachable
from fobench.errors import PrerequisiteError

CONTENT = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(157))[:5000]
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Web:
    """A server on the loopback: what it has, how it misbehaves, and what it was asked."""

    url: str = ""
    pages: dict[str, bytes] = field(default_factory=lambda: {"/model.bin": CONTENT})
    bytes_per_connection: int = 1 << 30
    ranges: bool = True
    refuses: str = "nobody"  # a user agent's first word
    silent: bool = False
    asked: list[str] = field(default_factory=list)  # the Range headers


class Handler(BaseHTTPRequestHandler):
    web: ClassVar[Web]

    def do_GET(self) -> None:
        web, page = self.web, self.web.pages.get(self.path)
        if web.silent:
            threading.Event().wait(1.0)
        if page is None or self.headers["User-Agent"].startswith(web.refuses):
            return self.send_error(404 if page is None else 403)
        asked = self.headers.get("Range", "")
        web.asked.append(asked)
        start = int(re.findall(r"\d+", asked)[0]) if asked and web.ranges else 0
        if asked and web.ranges and start >= len(page):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(page)}")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(page) - 1}/{len(page)}")
        self.send_header("Content-Type", "text/html" if page.startswith(b"<") else "application/octet-stream")
        self.send_header("Content-Length", str(len(page) - start))
        self.end_headers()
        self.wfile.write(page[start:][: web.bytes_per_connection])
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = type("WebHandler", (Handler,), {"web": Web()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.web.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield handler.web
    server.shutdown()
    server.server_close()


def quiet(what: str, done: int, total: int) -> None:
    pass


def download(web: Web, to: Path, size: int | None = len(CONTENT), sha256: str | None = SHA256) -> None:
    fetch.download(DownloadLink(f"{web.url}/model.bin", sha256), to, what="model.bin", progress=quiet, size=size)


def wheel(path: Path, members: dict[str | zipfile.ZipInfo, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def extracted(archive: Path, member: str, limit: int = 1000) -> bytes:
    out = io.BytesIO()
    wheels.extract(archive, member, out, limit)
    return out.getvalue()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    there=st.integers(0, len(CONTENT) + 20),
    wrong=st.booleans(),
    per_connection=st.integers(400, 6000),
    ranges=st.booleans(),
)
def test_any_partial_file_ends_as_the_whole(
    web: Web, tmp_path: Path, there: int, wrong: bool, per_connection: int, ranges: bool
) -> None:
    web.ranges, web.bytes_per_connection = ranges, per_connection if ranges else 6000
    (tmp_path / "m.part").write_bytes((bytes(there) if wrong else CONTENT + bytes(20))[:there])
    download(web, tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == CONTENT
    assert not (tmp_path / "m.part").exists()


def test_a_connection_that_breaks_off_is_taken_up_where_it_broke(web: Web, tmp_path: Path) -> None:
    web.bytes_per_connection = 2000
    download(web, tmp_path / "m")
    assert web.asked == ["", "bytes=2000-", "bytes=4000-"]
    assert (tmp_path / "m").read_bytes() == CONTENT


def test_a_download_that_gives_up_leaves_its_part_for_the_next(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    (tmp_path / "m.part").write_bytes(CONTENT[:1234])
    web.bytes_per_connection = 0
    with pytest.raises(SourceError, match="closed early"):
        download(web, tmp_path / "m")
    assert (tmp_path / "m.part").read_bytes() == CONTENT[:1234]
    assert not (tmp_path / "m").exists()


def test_other_bytes_than_pinned_are_refused_and_not_left(web: Web, tmp_path: Path) -> None:
    web.pages["/model.bin"] = bytes(len(CONTENT))
    with pytest.raises(SourceError, match="expected SHA-256"):
        download(web, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_another_size_than_pinned_is_refused_before_it_is_downloaded(web: Web, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="the server has 5000 bytes, not the pinned 4999"):
        download(web, tmp_path / "m", size=4999)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_up_to_the_size(web: Web, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    link = DownloadLink(f"{web.url}/model.bin")
    fetch.download(link, tmp_path / "m", what="it", progress=lambda *report: seen.append(report))
    assert seen[0] == ("it", 0, 5000)
    assert seen[-1] == ("it", 5000, 5000)


def test_a_refusal_is_told_by_its_number(web: Web, tmp_path: Path) -> None:
    web.refuses = "fobench"
    with pytest.raises(SourceError, match="HTTP 403"):
        download(web, tmp_path / "m")


def test_a_silent_server_is_given_up_and_not_asked_again(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "RESPONSE_S", 0.1)
    web.silent = True
    with pytest.raises(Unreachable, match=r"no response within|timed out"):
        download(web, tmp_path / "m")
    web.silent = False
    with pytest.raises(Unreachable):
        download(web, tmp_path / "m")


def test_only_http_and_file_links_are_followed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="neither https"):
        fetch.download(DownloadLink("ftp://127.0.0.1/m"), tmp_path / "m", what="m", progress=quiet)


def test_a_member_is_read_without_importing_the_wheel(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "w.whl", {"w/__init__.py": b"raise SystemExit", "w/m.bin": b"data"})
    assert extracted(archive, "w/m.bin") == b"data"


@pytest.mark.parametrize("name", ["../evil", "w/../../evil", "/etc/evil", "w\\..\\evil", "C:evil"])
def test_a_member_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    archive = wheel(tmp_path / "w.whl", {name: b"evil"})
    with pytest.raises(SourceError, match="does not hold exactly one"):
        extracted(archive, name)


def test_a_member_that_is_absent_twice_there_or_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("w/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = wheel(tmp_path / "w.whl", {link: b"/etc/passwd", "w/m": b"1"})
    with zipfile.ZipFile(archive, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("w/m", b"2")
    for name, reason in [("w/absent", "exactly one"), ("w/m", "exactly one"), ("w/link", "not a regular file")]:
        with pytest.raises(SourceError, match=reason):
            extracted(archive, name)


def test_a_zip_bomb_stops_at_the_pinned_size(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "w.whl", {"bomb": bytes(10_000_000)})
    out = io.BytesIO()
    with pytest.raises(SourceError, match="larger than the pinned size"):
        wheels.extract(archive, "bomb", out, 1000)
    assert out.tell() <= 1000


def test_a_damaged_wheel_is_told(tmp_path: Path) -> None:
    archive = wheel(tmp_path / "w.whl", {"m": CONTENT})
    data = bytearray(archive.read_bytes())
    data[200] ^= 255
    archive.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be read as a wheel"):
        extracted(archive, "m", len(CONTENT))


@pytest.fixture
def index(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A package index with one wheel, `tiny==1.0`, as pip's only one."""
    metadata = b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"
    info = {"tiny-1.0.dist-info/METADATA": metadata, "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\n"}
    web.pages["/tiny-1.0-py3-none-any.whl"] = wheel(tmp_path / "w", {"tiny/m": CONTENT, **info}).read_bytes()
    web.pages["/simple/tiny/"] = b'<a href="/tiny-1.0-py3-none-any.whl">tiny-1.0-py3-none-any.whl</a>'
    for name, value in {"CONFIG_FILE": "/dev/null", "INDEX_URL": f"{web.url}/simple", "FIND_LINKS": ""}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return web


@pytest.mark.subprocess
def test_a_wheel_of_the_index_is_resumed(index: Web, tmp_path: Path) -> None:
    whole = index.pages["/tiny-1.0-py3-none-any.whl"]
    (tmp_path / "tiny.whl.part").write_bytes(whole[:1000])
    assert wheels.wheel("tiny", "1.0", tmp_path / "tiny.whl", quiet).read_bytes() == whole
    assert index.asked == ["", "bytes=1000-"]  # pip's look at the index page, then ours


@pytest.mark.subprocess
def test_pip_downloads_where_we_may_not(index: Web, tmp_path: Path) -> None:
    index.refuses = "fobench"
    archive = wheels.wheel("tiny", "1.0", tmp_path / "tiny.whl", quiet)
    assert extracted(archive, "tiny/m", len(CONTENT)) == CONTENT


@pytest.mark.subprocess
def test_an_index_without_the_version_is_told(index: Web, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no configured package index offers tiny==2\.0"):
        wheels.wheel("tiny", "2.0", tmp_path / "tiny.whl", quiet)


@pytest.mark.subprocess
def test_a_python_without_pip_is_told() -> None:
    program = """if True:
        import sys, pathlib
        sys.path.insert(0, sys.argv[1])
        from fobench.assets import download, wheels
        try:
            wheels.wheel("tiny", "1.0", pathlib.Path("absent.whl"), print)
        except download.SourceError as error:
            print(error)
    """
    root = str(Path(fobench.__file__).parents[1])
    done = subprocess.run([sys.executable, "-S", "-c", program, root], capture_output=True, text=True, check=True)
    assert "this Python has no pip" in done.stdout


def test_a_short_disk_is_told_with_the_way_out(tmp_path: Path) -> None:
    files.check_space(tmp_path, 0)
    with pytest.raises(PrerequisiteError, match=r"MB of disk space are needed.*FOBENCH_HOME"):
        files.check_space(tmp_path, 1 << 60)


def test_progress_off_a_terminal_is_a_line_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with fetch.download_progress() as progress:
        for done in (0, 1_000_000, 2_000_000):
            progress("m.bin", done, 2_000_000)
    assert capsys.readouterr().err == "m.bin: 2.0 MB\n"
