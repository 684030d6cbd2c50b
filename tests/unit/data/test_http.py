"""Range reads against a local server, and servers that misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from mmask.data import http
from mmask.data.loader import Loader
from mmask.data.sidecar import build_index
from mmask.data.source import open_source
from mmask.data.stream import Stream
from mmask.errors import DataError, IndexMissingError, SampleError
from mmask.testing.shards import TinyDecoder, write_shards


@dataclass
class Site:
    """A folder served over http, with faults to inject."""

    folder: Path
    url: str = ""
    ranges: bool = True
    failures: list[str] = field(default_factory=list)  # "500" or "short", used up one by one
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = site.folder / self.path.lstrip("/")
            wanted = self.headers.get("Range", "")
            site.requests.append((self.path, wanted))
            failure = site.failures.pop(0) if site.failures and path.suffix == ".tar" else ""
            if failure == "500" or not path.is_file():
                self.send_response(500 if failure else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = path.read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if site.ranges else None
            part = data[int(found[1]) : int(found[2]) + 1] if found else data
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {found[1]}-{int(found[1]) + len(part) - 1}/{len(data)}")
            self.send_header("ETag", f'"{len(data)}-{hash(data)}"')
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            try:
                self.wfile.write(part[: len(part) // 2] if failure == "short" else part)
                site.sent += len(part)
            except OSError:
                pass
            if failure == "short":
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("MMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(http, "_BACK_OFF", 0.01)
    found = Site(tmp_path / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def big(shard: int, row: int) -> dict[str, object]:
    return {"bin": bytes([row]) * 20_000, "cls": row}


def test_a_remote_shard_without_an_index_stops_with_the_command_and_its_time(site: Site) -> None:
    write_shards(site.folder, [3])
    with pytest.raises(IndexMissingError) as caught:
        open_source(f"{site.url}/t-{{000..000}}.tar")
    assert f"mmask data index '{site.url}/t-000.tar'" in caught.value.hint
    assert "about a second" in caught.value.hint


def test_shards_are_read_by_ranges_with_the_index_beside_them(site: Site) -> None:
    pattern = write_shards(site.folder, [30, 30], big)
    here = [(str(one.id), dict(one.parts)) for one in open_source(pattern, "s")]  # leaves sidecars beside the tars
    site.sent = 0
    source = open_source(f"{site.url}/t-{{000..001}}.tar", "s")
    sample = source.read(33)
    assert (str(sample.id), dict(sample.parts)) == here[33]
    assert site.sent < 60_000  # two sidecars and one sample; never a tar
    assert [(str(one.id), dict(one.parts)) for one in source] == here


def test_an_index_made_over_http_lies_in_the_cache_and_goes_stale(site: Site) -> None:
    write_shards(site.folder, [4])
    url = f"{site.url}/t-000.tar"
    assert [one.state for one in build_index(url)] == ["built"]
    assert [one.state for one in build_index(url)] == ["fresh"]
    assert len(open_source(url)) == 4
    write_shards(site.folder, [4], lambda s, r: {"bin": b"other", "cls": r, "json": {"width": 100 + r}})
    with pytest.raises(IndexMissingError):
        open_source(url)


def test_broken_answers_are_asked_for_again(site: Site) -> None:
    write_shards(site.folder, [6], big)
    url = f"{site.url}/t-000.tar"
    build_index(url)
    source = open_source(url)
    site.failures[:] = ["500", "short", "500", "short"]
    assert source.read(3).parts["bin"] == bytes([3]) * 20_000
    assert not site.failures


def test_a_shard_that_stays_broken_is_a_sample_error(site: Site) -> None:
    write_shards(site.folder, [6], big)
    url = f"{site.url}/t-000.tar"
    build_index(url)
    source = open_source(url)
    source.read(0)
    site.failures[:] = ["short"] * 400
    with pytest.raises(SampleError, match="attempts"):
        source.read(3)


def test_a_server_that_ignores_ranges_is_named(site: Site) -> None:
    write_shards(site.folder, [3])
    site.ranges = False
    with pytest.raises(DataError, match="ignores Range"):
        open_source(f"{site.url}/t-000.tar")


def test_a_missing_file_and_a_dead_host_are_errors(site: Site) -> None:
    site.folder.mkdir()
    with pytest.raises(DataError, match="404"):
        open_source(f"{site.url}/none.tar")
    with pytest.raises(DataError, match="cannot be read"):
        open_source("http://127.0.0.1:9/none.tar")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_over_http_gives_the_batches_of_the_local_one(site: Site, workers: int) -> None:
    pattern = write_shards(site.folder, [17, 12])
    runs = []
    for url, number in ((pattern, 0), (f"{site.url}/t-{{000..001}}.tar", workers)):
        stream = Stream([open_source(url, "s")], seed=1, shuffle=8, streams=4)
        with Loader(stream, {"tiny": TinyDecoder()}, batch_size=6, workers=number, limit=60, seed=1) as loader:
            runs.append(list(loader))
    for one, two in zip(*runs, strict=True):
        assert one.names == two.names
        assert np.array_equal(one["pair"], two["pair"])
