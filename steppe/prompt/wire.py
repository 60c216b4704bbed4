"""One POST over HTTP or HTTPS that ends in time, is of bounded size and goes nowhere else.

Every read waits `read` seconds at most and never beyond the deadline, so that a server that sends
a byte now and then does not hold us. A redirect is followed on the same host alone: to another one,
the key would go along. Proxies of the environment are used, but not for this machine itself.
Standard library only.
"""

import base64
import dataclasses
import http.client
import io
import ipaddress
import re
import socket
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from email.message import Message as Headers
from typing import Any, cast

from ..core.arguments import real, told, whole

PORTS = {"http": 80, "https": 443}
REDIRECTS = (301, 302, 307, 308)  # that are followed with the same method and body
HOPS = 3
VERSIONED = re.compile(r"/v\d+[a-z0-9]*(/|$)")


class WireError(Exception):
    """The words of what went wrong; `again` if it may be well another time."""

    def __init__(self, words: str, again: bool = True):
        self.words, self.again = words, again


@dataclasses.dataclass(frozen=True)
class Address:
    """A server, and the path below which it answers."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: object) -> "Address":
        """The address of a `base_url`, with or without /v1 and a slash at its end.

        >>> str(Address.of("http://localhost:8080/")), str(Address.of("https://a.b/openai/v1/"))
        ('http://localhost:8080/v1', 'https://a.b/openai/v1')
        >>> str(Address.of("https://a.b/v1beta/openai"))
        'https://a.b/v1beta/openai'
        """
        fault = f"base_url must be an address such as 'http://localhost:8080/v1', got {told(url)}"
        try:
            parts = urllib.parse.urlsplit(url.strip() if isinstance(url, str) else "")
            port, host = parts.port, parts.hostname
        except ValueError:
            raise ValueError(f"{fault}.") from None
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "base_url must be an address without name, password, ? and #, which could be "
                "secrets; give the key by `key`. What was given is not shown."
            )
        if parts.scheme not in PORTS or not host or re.search(r"[^!-~]", parts.netloc + parts.path):
            raise ValueError(f"{fault}.")
        path = parts.path.rstrip("/").removesuffix("/chat/completions")
        path = path if VERSIONED.search(path) else f"{path}/v1"
        return cls(parts.scheme, host, port or PORTS[parts.scheme], path)

    @property
    def loopback(self) -> bool:
        """True for this machine itself."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __str__(self) -> str:
        return self.origin + self.path


@dataclasses.dataclass(frozen=True)
class Reply:
    """A server's answer, of any status."""

    status: int
    headers: Headers
    body: bytes


@dataclasses.dataclass(frozen=True)
class Limits:
    """Seconds to connect and between two reads, and bytes of an answer."""

    connect: float = 5.0
    read: float = 120.0
    most: int = 2 * 2**20

    def __post_init__(self):
        for name in ("connect", "read"):
            if real(f"Limits: {name}", getattr(self, name)) <= 0:
                raise ValueError(f"Limits: {name} must be positive, got {getattr(self, name)}.")
        whole("Limits: most", self.most, least=1, most=2**31 - 1)


def post(
    address: Address,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    limits: Limits,
    left: Callable[[], float],
) -> Reply:
    """Send a body and read the reply.

    - `left`: seconds until the deadline, asked before everything that can wait

    Raises WireError.
    """
    for _ in range(HOPS + 1):
        reply = _post(address, path, body, headers, limits, left)
        if reply.status not in (*REDIRECTS, 303) or not (to := reply.headers.get("Location")):
            return reply
        target = urllib.parse.urlsplit(urllib.parse.urljoin(address.origin + path, to))
        try:
            port = target.port or PORTS.get(target.scheme)
        except ValueError:
            port = None
        same = (target.scheme, target.hostname, port)
        if reply.status == 303 or same != (address.scheme, address.host, address.port):
            raise WireError("it sends us on to another address, which is not followed", again=False)
        path = target.path + (f"?{target.query}" if target.query else "")
    raise WireError(f"it sends us on more than {HOPS} times", again=False)


def _post(
    address: Address,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    limits: Limits,
    left: Callable[[], float],
) -> Reply:
    waiting = lambda most: min(most, _positive(left()))
    try:
        connection, target, own = _connection(address, path, waiting(limits.connect))
    except TimeoutError:
        raise WireError("no time was left to connect") from None
    try:
        try:
            connection.connect()
        except TimeoutError:
            raise WireError(f"no connection within {limits.connect:g} s") from None
        plain = cast(socket.socket, connection.sock)
        pace = lambda: plain.settimeout(waiting(limits.read))
        connection.sock = cast(Any, _Paced(plain, pace))
        connection.request("POST", target, body, {**headers, **own})
        response = connection.getresponse()
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > limits.most:
            raise WireError(f"its answer is longer than {limits.most} bytes", again=False)
        data = response.read(limits.most + 1)
        if len(data) > limits.most:
            raise WireError(f"its answer is longer than {limits.most} bytes", again=False)
        return Reply(response.status, response.headers, data)
    except ssl.SSLCertVerificationError:
        raise WireError("its certificate is not valid for this host", again=False) from None
    except TimeoutError:
        raise WireError("it did not answer in time") from None
    except ConnectionRefusedError:
        raise WireError("nobody listens there") from None
    except socket.gaierror:
        raise WireError("no host of that name is known") from None
    except (OSError, http.client.HTTPException) as error:
        raise WireError(f"the connection broke ({type(error).__name__})") from None
    finally:
        connection.close()


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise TimeoutError
    return seconds


def _connection(
    address: Address, path: str, timeout: float
) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
    """A connection, not yet open, with what to ask it for and headers for a proxy."""
    secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    proxy = None if address.loopback else urllib.request.getproxies().get(address.scheme)
    if not proxy or urllib.request.proxy_bypass(address.host):
        return kind(address.host, address.port, timeout=timeout), path, {}
    parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    headers = {}
    if parts.username is not None:
        said = f"{parts.username}:{parts.password or ''}"
        code = base64.b64encode(urllib.parse.unquote(said).encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {code}"
    connection = kind(parts.hostname or "", parts.port or 80, timeout=timeout)
    if not secure:
        return connection, address.origin + path, headers
    connection.set_tunnel(address.host, address.port, headers)
    return connection, path, {}


class _Paced:
    """A socket that sets its time limit before each read and write."""

    def __init__(self, plain: socket.socket, pace: Callable[[], None]):
        self.plain, self.pace = plain, pace

    def sendall(self, data: bytes) -> None:
        self.pace()
        self.plain.sendall(data)

    def makefile(self, mode: str, *_: Any, **__: Any) -> io.BufferedReader:
        raw = self.plain.makefile("rb", buffering=0)
        return io.BufferedReader(cast(io.RawIOBase, _Reads(raw, self.pace)))

    def close(self) -> None:
        self.plain.close()


class _Reads(io.RawIOBase):
    def __init__(self, raw: Any, pace: Callable[[], None]):
        self.raw, self.pace = raw, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self.pace()
        return self.raw.readinto(buffer)

    def close(self) -> None:
        self.raw.close()
        io.RawIOBase.close(self)
