"""Range reads over http(s): kept-alive connections, retries with back-off, proxies from the environment."""

from __future__ import annotations

import time
import urllib.request
from typing import Any

from mmask.data.store import Stamp
from mmask.errors import DataError

_TRIES = 5
_BACK_OFF = 0.25  # seconds; doubles with each attempt, and a server's Retry-After is obeyed
_AGAIN = (408, 429, 500, 502, 503, 504)
_TIMEOUT = 60.0


def connect(url: str) -> Any:
    """A pool of connections for ``url``, through the environment's proxy when it names one."""
    import urllib3

    retries = urllib3.Retry(
        total=_TRIES,
        backoff_factor=_BACK_OFF,
        status_forcelist=_AGAIN,
        allowed_methods=("GET", "HEAD"),
        raise_on_status=False,
    )
    options: dict[str, Any] = {"retries": retries, "timeout": _TIMEOUT, "maxsize": 16}
    scheme, host = url.partition("://")[0], url.split("/")[2]
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
    return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)


class HttpStore:
    """A file on a web server that supports Range requests.

    Raises DataError when the server cannot be reached, refuses the file, or ignores Range.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool = connect(url)
        answer = self._ask(0, 1)
        if answer.status == 200:
            raise DataError(
                f"{url}: the server ignores Range requests, so samples cannot be read apart",
                hint="serve the shards with a server that supports Range (nginx, S3, ...) or copy them",
            )
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        if answer.status != 206 or not total.isdigit():
            raise DataError(f"{url}: the server answered {answer.status} {answer.reason or ''}".rstrip())
        self.size = int(total)
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        self.stamp = Stamp(self.size, 0, tag.removeprefix("W/").strip('"'))

    def read(self, offset: int, size: int) -> bytes:
        """As `mmask.data.store.Store.read`."""
        end = min(offset + size, self.size)
        if end <= offset:
            return b""
        answer = self._ask(offset, end - offset)
        if answer.status != 206:
            raise DataError(f"{self.url}: bytes {offset}-{end - 1}: the server answered {answer.status}")
        return answer.data

    def _ask(self, offset: int, size: int) -> Any:
        """The server's answer; asked again when it breaks off or comes short."""
        from urllib3.exceptions import HTTPError

        headers = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        problem: object = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_BACK_OFF * 2 ** (attempt - 1))
            try:
                answer = self._pool.request("GET", self.url, headers=headers, preload_content=False)
                if answer.status != 206:
                    answer.close()  # never download a whole shard that was not asked for
                    return answer
                if len(answer.read(cache_content=True)) == size:
                    return answer
                problem = f"{len(answer.data)} of {size} bytes came"
            except HTTPError as error:
                problem = error
                if _hopeless(error):
                    break
        raise DataError(
            f"{self.url} cannot be read: {problem} ({attempt + 1} attempts)",
            hint="the host, the proxy or the address is wrong, or the network is down",
        )

    def close(self) -> None:
        """Give the connections back."""
        self._pool.clear()


def _hopeless(error: Exception) -> bool:
    """Whether the pool has already tried again as often as it may."""
    from urllib3.exceptions import LocationParseError, MaxRetryError

    return isinstance(error, MaxRetryError | LocationParseError)


def fetch(url: str) -> bytes | None:
    """A small file whole, or None when the server has none (404, 403, 410)."""
    import urllib3

    try:
        answer = connect(url).request("GET", url)
    except urllib3.exceptions.HTTPError as error:
        raise DataError(f"{url} cannot be read: {error}") from error
    if answer.status in (403, 404, 410):
        return None
    if answer.status != 200:
        raise DataError(f"{url}: the server answered {answer.status}")
    return answer.data
