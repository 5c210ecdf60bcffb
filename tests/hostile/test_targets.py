"""Addresses that webhooks must not reach: each is refused, and nothing of this machine hears a connection."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from libs.common.outgoing.client import Outgoing
from libs.common.outgoing.targets import Address, ForbiddenTarget, Policy
from libs.common.settings import Settings
from tests.worlds.receiver import a_receiver, answers

pytestmark = pytest.mark.anyio

#: As generous as an installation can be: two private networks, a name, http, and the port that listens.
NETWORKS = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "fd12:3456::/32")))
NAME = "hook.county.example.cn"
PUBLIC = "93.184.215.14"

#: Ways to write an address of this machine, and of what else no allow-list opens.
LITERALS = """
127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 127.1 127.0.1 127.000.000.001 0127.0.0.1 0177.0.0.1 0177.0.0.01
0x7f.0.0.1 0x7f.1 0x7F.0x0.0x0.0x1 0x7f000001 0X7F000001 2130706433 017700000001 00000000177.0.0.1 127.0.0.1.
127.0x0.0.1 127.0.0.0x1 0.0.0.0 0 00 0x0 0.0.0.1 0.1.2.3 [::] [::1] [0:0:0:0:0:0:0:1] [0000::0001] [::0.0.0.1]
[::127.0.0.1] [::7f00:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:127.0.0.1] [0:0:0:0:0:ffff:7f00:1]
[::ffff:0:127.0.0.1] [::ffff:10.0.0.1] [::ffff:93.184.215.14] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1]
[64:ff9b::10.0.0.1] [64:ff9b:1::7f00:1] [64:ff9b:1:ffff::1] [2002:7f00:1::] [2002:7f00:1::1] [2002:a00:1::1]
[2002:a9fe:a9fe::1] [2001:0:7f00:1::] [2001::1] [2001:10::1] [2001:20::1] [2001:db8::1] [3fff::1] [5f00::1]
[100::1] [fe80::1] [fe80::1%25lo] [fe80::1%lo] [fe80::5efe:7f00:1] [2606:4700::5efe:7f00:1]
[2606:4700::200:5efe:a00:1] [febf::1] [fec0::1] [feff::1] [ff02::1] [ff0e::1] [fc00::1] [fd00::1]
[fd00:ec2::254] [fd20:ce::254] [fd12:3457::1] 169.254.169.254 169.254.0.1 169.254.170.2 169.254.169.253
0xa9fea9fe 2852039166 0251.0376.0251.0376 169.254.43518 0xa9.0xfe.0xa9.0xfe [::ffff:169.254.169.254]
[::ffff:a9fe:a9fe] [::a9fe:a9fe] 100.100.100.200 168.63.129.16 192.0.0.192 192.0.0.170 192.0.2.1 192.88.99.1
198.18.0.1 198.19.255.254 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 1
100.64.0.1 100.127.255.254 172.16.0.1 172.31.255.254 192.168.0.1 192.168.255.254 011.0.0.1 10.1 10.0.1
012.0.0.1 0xa.0.0.1 167772161 256.1.1.1 1.2.3 1.2.3.4.5 1.1.1.1. 1.1.1.0x1 localhost localhost. LOCALHOST
localhost.localdomain. ip6-localhost a internal metadata.google.internal. a..b .a.cn a.cn.. -a.cn a-.cn a_b.cn
a.123 a.0x7f a.0x a.1 a.cn1.2 xn--.cn- [::1]x [::1 ::1] [] [:::1] [1::2::3] [g::1] [1.2.3.4] [::1]:1x [::1].cn
"""

#: What is wrong with the rest of it.
ADDRESSES = r"""
ftp://{name}/ file:///etc/passwd gopher://{name}/ ws://{name}/ HTTPS://{name}/ //{name}/ {name} https:/{name}/
https:{name} https://{name}:22/ https://{name}:80/ https://{name}:8080/ https://{name}:0/ https://{name}:65536/
https://{name}:99999/ https://{name}:/ https://{name}:+443/ https://{name}:４４３/ https://a@{name}/
https://a:b@{name}/ https://{name}@127.0.0.1/ https://127.0.0.1@{name}/ https://{name}#@127.0.0.1/
https://{name}/#x https://{name}\@127.0.0.1/ https://127.0.0.1\@{name}/ https://{name}%00.cn/
https://127.0.0.1%2f@{name}/ https://%31%32%37.0.0.1/ https://１２７.0.0.1/ https://①②⑦.⓪.⓪.①/
https://127。0。0。1/ https://127｡0｡0｡1/ https://lоcalhost.cn/ https://ｌｏｃａｌｈｏｓｔ/ https:///{name}/
https://?{name} https:// https://[{name}]/ https://{name}/{long}
"""

ODD = ("https://{name}/a b", "https://{name}/\r\nHost:x", "https://{name}/\x00", "\thttps://{name}/", "", " ")

#: What a name may resolve to: one bad address among good ones is enough.
RESOLVED = [
    [bad] if alone else [PUBLIC, bad]
    for alone in (True, False)
    for bad in (
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "2001:0:7f00:1::",
        "169.254.169.254",
        "fe80::1",
        "100.100.100.200",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "fd00:ec2::254",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "fec0::1",
    )
]


@dataclass(frozen=True)
class Vector:
    """An address, and what its name resolves to."""

    url: str
    found: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ascii(self.url)[1:60] + (f" at {'+'.join(self.found)}" if self.found else "")


def vectors() -> Iterator[Vector]:
    for literal in LITERALS.split():
        yield Vector(f"https://{literal}:PORT/" if literal.count(":1x") == 0 else f"https://{literal}/")
    for url in (*ADDRESSES.split(), *ODD):
        yield Vector(url.format(name=NAME, long="x" * 1000), (PUBLIC,))
    for found in RESOLVED:
        yield Vector(f"https://other.example.cn:PORT/{len(found)}", tuple(found))
    # Of a name that is listed, private addresses are let in, and nothing else is.
    for bad in (
        "127.0.0.1",
        "0.0.0.0",
        "::1",
        "169.254.169.254",
        "fe80::1",
        "::ffff:10.0.0.1",
        "100.100.100.200",
    ):
        yield Vector(f"https://{NAME}:PORT/", (bad,))


VECTORS = list(vectors())


class Listening:
    """Everything on this machine, on one port, IPv4 and IPv6; counts who knocks."""

    def __init__(self) -> None:
        self.knocks = 0
        self.port = 0

    def knocked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.knocks += 1
        writer.close()


@pytest.fixture
async def listening() -> AsyncIterator[Listening]:
    made = Listening()
    four = await asyncio.start_server(made.knocked, "0.0.0.0", 0)
    made.port = four.sockets[0].getsockname()[1]
    servers = [four]
    with contextlib.suppress(OSError):  # a machine without IPv6 has nothing there to knock at
        servers.append(await asyncio.start_server(made.knocked, "::1", made.port))
    yield made
    for server in servers:
        server.close()


def an_outgoing(port: int, *found: str, trust: ssl.SSLContext | None = None) -> Outgoing:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ipaddress.ip_address(one) for one in found]

    policy = Policy(NETWORKS, frozenset({NAME}), frozenset({443, port}), plain=True)
    return Outgoing(policy, resolve=resolve, trust=trust)


def test_there_are_enough_of_them() -> None:
    assert len(set(VECTORS)) >= 225


@pytest.mark.parametrize("vector", VECTORS, ids=str)
async def test_a_forbidden_address_is_refused_and_nobody_hears_a_knock(
    vector: Vector, listening: Listening
) -> None:
    outgoing = an_outgoing(listening.port, *vector.found)
    for scheme in ("https://", "http://"):
        url = vector.url.replace("PORT", str(listening.port)).replace("https://", scheme)
        with pytest.raises(ForbiddenTarget):
            await outgoing.check(url)
        with pytest.raises(ForbiddenTarget):
            await outgoing.post(url, b"{}", {}, within=2.0)
    assert listening.knocks == 0


@pytest.mark.parametrize("found", ["93.184.215.14", "10.1.2.3", "2606:4700::1111", "fd12:3456::1"])
async def test_what_is_public_or_listed_is_allowed(found: str) -> None:
    url = "https://other.example.cn/hook?a=1"
    target, addresses = await an_outgoing(443, found).check(url)
    assert (target.host, target.port, target.target) == ("other.example.cn", 443, "/hook?a=1")
    assert addresses == (ipaddress.ip_address(found),)


@pytest.mark.parametrize(("host", "allowed"), [(NAME, True), ("other.example.cn", False)])
async def test_a_listed_name_may_be_on_the_intranet(host: str, allowed: bool) -> None:
    outgoing = an_outgoing(443, "192.168.7.7")
    if allowed:
        await outgoing.check(f"https://{host}/")
        await outgoing.check(f"http://{host}/")
    else:
        with pytest.raises(ForbiddenTarget):
            await outgoing.check(f"https://{host}/")


async def test_without_tls_only_what_is_listed_is_spoken_to() -> None:
    with pytest.raises(ForbiddenTarget):
        await an_outgoing(443, PUBLIC).check("http://other.example.cn/")
    with pytest.raises(ForbiddenTarget):
        await Outgoing(Policy(NETWORKS)).check("http://10.1.1.1/")


async def test_a_name_that_changes_is_asked_once_and_the_connection_goes_to_that_answer() -> None:
    """DNS rebinding: judged at one address, connected at another."""
    asked: list[str] = []
    async with a_receiver("127.0.0.1") as good, a_receiver("127.0.0.2") as evil:

        async def resolve(host: str, port: int) -> Sequence[Address]:
            asked.append(host)
            return [ipaddress.ip_address("127.0.0.1" if len(asked) == 1 else "127.0.0.2")]

        policy = Policy((ipaddress.ip_network("127.0.0.1/32"),), ports=frozenset({good.port}), plain=True)
        outgoing = Outgoing(policy, resolve=resolve)
        url = f"http://{NAME}:{good.port}/hook"
        assert (await outgoing.post(url, b"{}", {}, within=2.0)).status == 204
        assert asked == [NAME]
        assert good.seen[0].headers["host"] == f"{NAME}:{good.port}"
        with pytest.raises(ForbiddenTarget):
            await outgoing.post(url, b"{}", {}, within=2.0)
        assert evil.connected == 0


async def test_a_redirect_to_the_link_is_not_followed(listening: Listening) -> None:
    async with a_receiver() as receiver:
        receiver.behaviour = answers(307, location=f"http://127.0.0.1:{listening.port}/")
        policy = Policy((ipaddress.ip_network("127.0.0.0/8"),), ports=frozenset(range(1, 65536)), plain=True)
        assert (await Outgoing(policy).post(receiver.url, b"{}", {}, within=2.0)).status == 307
    assert listening.knocks == 0


async def test_proxies_of_the_environment_are_not_used(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listening.port}")
    async with a_receiver() as receiver:
        policy = Policy((ipaddress.ip_network("127.0.0.0/8"),), ports=frozenset(range(1, 65536)), plain=True)
        assert (await Outgoing(policy).post(receiver.url, b"{}", {}, within=2.0)).status == 204
    assert listening.knocks == 0


@pytest.mark.parametrize(
    "listed", ["10.0.0.0/33", "10.0.0.1/8", "*", "a b", "http://a.cn", "10.*", "a.cn:80", "localhost"]
)
def test_an_allow_list_that_says_nothing_clear_is_refused(listed: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CIDR"):
        Settings(data=tmp_path, webhook_allow=listed)


def test_this_machine_may_be_listed_on_the_embedded_engine_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="WEBHOOK_ALLOW"):
        Settings(
            data=tmp_path,
            webhook_allow="127.0.0.1/32",
            database="postgresql+asyncpg://u@h/d",  # type: ignore[arg-type]
            kafka="h:9092",
        )
