"""Files of npm packages: fetched by the real npm client from a registry of this machine, checked, and read as archives."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fobench.assets import npm, store
from fobench.assets.download import SourceError
from fobench.errors import FobenchError, PrerequisiteError

MEMBERS = {"voices/a.bin": b"style " * 300, "voices/b.bin": b"other " * 200, "package.json": b'{"name": "tiny"}'}
TABLE = """
[tiny]
what = "two tables"
licence = "MIT"
files = [
    {{ name = "a.bin", size = 1800, sha256 = "{a}", npm = {{ package = "@some/tiny", version = "1.2.3", sha256 = "{tar}", path = "voices/a.bin" }} }},
    {{ name = "b.bin", size = 1200, sha256 = "{b}", npm = {{ package = "@some/tiny", version = "1.2.3", sha256 = "{tar}", path = "voices/b.bin" }} }},
]
"""


def packed(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("package/voices/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return data.getvalue()


class Registry(ThreadingHTTPServer):
    """A registry with one package, whose tarball the test may replace."""

    tarball = packed(MEMBERS)
    requests: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        self.server.requests += (self.path,)
        tarball = self.server.tarball
        if self.path.endswith(".tgz"):
            return self._send(200, tarball)
        if "tiny" not in self.path:
            return self._send(404, b'{"error": "not found"}')
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(tarball).digest()).decode()}"
        dist = {"tarball": f"{self.server.url}tiny-1.2.3.tgz", "integrity": integrity}
        versions = {"1.2.3": {"name": "@some/tiny", "version": "1.2.3", "dist": dist}}
        about = {"name": "@some/tiny", "dist-tags": {"latest": "1.2.3"}, "versions": versions}
        return self._send(200, json.dumps(about).encode())

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry, as npm is configured to use it, and the asset `tiny` that is pinned to it."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    digests = {name: hashlib.sha256(MEMBERS[f"voices/{name}.bin"]).hexdigest() for name in "ab"}
    (tmp_path / "table.toml").write_text(TABLE.format(tar=hashlib.sha256(Registry.tarball).hexdigest(), **digests))
    server = Registry(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {"FOBENCH_HOME": tmp_path / "home", "FOBENCH_ASSETS": tmp_path / "table.toml", "FOBENCH_OFFLINE": ""}
    settings |= {"npm_config_registry": server.url, "npm_config_cache": tmp_path / "npm"}
    settings |= {"npm_config_update_notifier": "false", "npm_config_fetch_retries": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.subprocess
def test_the_files_of_one_package_come_from_one_tarball_that_is_not_kept(registry: Registry, tmp_path: Path) -> None:
    folder = store.get("tiny")
    assert {path.name: path.read_bytes() for path in folder.glob("*.bin")} == {
        "a.bin": MEMBERS["voices/a.bin"],
        "b.bin": MEMBERS["voices/b.bin"],
    }
    assert sum(path.endswith(".tgz") for path in registry.requests) == 1
    assert list((tmp_path / "home/downloads").iterdir()) == []


@pytest.mark.subprocess
def test_another_tarball_is_refused_and_not_left(registry: Registry, tmp_path: Path) -> None:
    registry.tarball = packed({**MEMBERS, "voices/a.bin": b"style " * 299 + b"sty1e "})
    with pytest.raises(PrerequisiteError, match=r"mirror @some/tiny@1\.2\.3: refused: the tarball has the SHA-256"):
        store.get("tiny")
    assert list((tmp_path / "home/downloads").iterdir()) == []


@pytest.mark.subprocess
def test_a_package_that_the_registry_lacks_is_told(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"npm pack: "):
        npm.tarball("absent", "1.0.0", "0" * 64, tmp_path / "absent.tgz")


def test_a_machine_without_npm_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"no npm, which comes with Node\.js"):
        npm.tarball("tiny", "1.0.0", "0" * 64, tmp_path / "tiny.tgz")


@pytest.mark.parametrize(
    ("member", "size", "message"),
    [
        ("voices/a.bin", 1799, "not a file of the pinned 1799 bytes"),
        ("voices/link.bin", 0, "not a file of the pinned"),
        ("voices/c.bin", 1, "does not hold"),
    ],
)
def test_a_member_that_is_not_the_pinned_one_is_refused(tmp_path: Path, member: str, size: int, message: str) -> None:
    (tmp_path / "tiny.tgz").write_bytes(Registry.tarball)
    with pytest.raises(SourceError, match=message):
        npm.extract(tmp_path / "tiny.tgz", member, tmp_path / "out", size)


@pytest.mark.parametrize("data", [b"", b"not an archive", Registry.tarball[:200]])
def test_a_damaged_tarball_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "tiny.tgz").write_bytes(data)
    with pytest.raises(SourceError, match=r"tiny\.tgz cannot be read as a tarball"):
        npm.extract(tmp_path / "tiny.tgz", "voices/a.bin", tmp_path / "out", 1800)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('path = "voices/a.bin"', 'path = "../a.bin"', "not a path inside a package"),
        ('package = "@some/tiny"', 'package = "--registry=x"', "an npm package, its version"),
        ('version = "1.2.3"', 'version = "latest"', "an npm package, its version"),
        (', path = "voices/b.bin"', "", "npm lacks path"),
    ],
)
def test_a_source_that_is_no_pinned_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, message: str
) -> None:
    table = TABLE.format(tar="0" * 64, a="1" * 64, b="2" * 64).replace(old, new, 1)
    (tmp_path / "table.toml").write_text(table)
    monkeypatch.setenv("FOBENCH_ASSETS", str(tmp_path / "table.toml"))
    with pytest.raises(FobenchError, match=rf"is not a table of assets.*{message}"):
        store.table()
