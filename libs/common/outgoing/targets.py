"""Where a request to an address that somebody entered may go (server-side request forgery).

On a government intranet the honest receivers have private addresses, so these are let in by an allow-list of
the installation. What is never let in: this machine, the link, metadata services, everything that wraps
another address. Pure: names are resolved by the caller, and every address of the answer is judged.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from libs.common import errors, wording

Address = IPv4Address | IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Characters of an address.
LONGEST = 1000
HTTPS, HTTP = 443, 80

#: RFC 3986, without what we do not take: no userinfo, no fragment, nothing beyond ASCII.
_URL = re.compile(
    r"(?P<scheme>https?)://(\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+))(:(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)"
)
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
#: A name whose last label could be a number is an address to some resolvers: 127.1, 0x7f.1, 2130706433.
_NAME = re.compile(rf"({_LABEL}\.)+(?!0x)[a-z][a-z0-9-]{{0,61}}[a-z0-9]")

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

#: Addresses that no allow-list opens: none of them is anybody's receiver.
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network: 0.0.0.0 reaches this machine
            "169.254.0.0/16",  # the link, with the metadata services of most clouds
            "100.100.100.200/32",  # metadata (Alibaba Cloud)
            "168.63.129.16/32",  # metadata (Azure)
            "192.0.0.0/24",  # protocol assignments, with metadata (Oracle Cloud)
            "192.88.99.0/24",  # relays of 6to4
            "192.0.2.0/24",  # documentation
            "198.51.100.0/24",
            "203.0.113.0/24",
            "198.18.0.0/15",  # benchmarks
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, with the broadcast
            "::/96",  # unspecified, and IPv4 in its compatible form
            "::ffff:0:0/96",  # IPv4 in its mapped form
            "::ffff:0:0:0/96",  # IPv4 translated
            "64:ff9b::/96",  # NAT64
            "64:ff9b:1::/48",
            "100::/64",  # discard
            "2001::/23",  # protocol assignments, with Teredo
            "2001:db8::/32",  # documentation
            "3fff::/20",
            "2002::/16",  # 6to4
            "5f00::/16",  # segment routing
            "fd00:ec2::/32",  # metadata (Amazon)
            "fd20:ce::254/128",  # metadata (Google)
            "fe80::/10",  # the link
            "fec0::/10",  # the site, as it once was
            "ff00::/8",  # multicast
        ),
    )
)
#: Ends of IPv6 addresses that hold an IPv4 address (ISATAP, RFC 5214).
_ISATAP = (0x00005EFE, 0x02005EFE)


class ForbiddenTarget(errors.Malformed):
    """The address is none that this installation may send to."""

    code = "forbidden-target"
    title = "推送地址不被允许"


@dataclass(frozen=True, slots=True)
class Policy:
    """Where this installation may send, beside public addresses on 443."""

    networks: tuple[Network, ...] = ()
    #: Names that may resolve to private addresses, and be spoken to without TLS where `plain` says so.
    hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset({HTTPS})
    #: Whether what is listed may be spoken to by http.
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """An address taken apart, by us alone: a second parser might read another host in it."""

    scheme: str
    host: str
    port: int
    target: str  #: path and query, as they go over the wire

    @property
    def is_plain(self) -> bool:
        return self.scheme == "http"

    @property
    def literal(self) -> Address | None:
        """The host, if it is an address and no name."""
        return _literal(self.host)


def entries(listed: str) -> tuple[tuple[Network, ...], frozenset[str]]:
    """An allow-list as it stands in the settings: networks and host names. Raises ValueError."""
    networks: list[Network] = []
    hosts: set[str] = set()
    for entry in filter(None, (part.strip() for part in listed.split(","))):
        if _NAME.fullmatch(entry.lower()):
            hosts.add(entry.lower())
        else:
            networks.append(ipaddress.ip_network(entry))
    return tuple(networks), frozenset(hosts)


def is_loopback(network: Network) -> bool:
    """Whether it lies on this machine."""
    return any(network.version == own.version and network.overlaps(own) for own in _LOOPBACK)


def read(url: str, policy: Policy) -> Target:
    """The address taken apart, judged as far as it can be without a resolver. Raises ForbiddenTarget."""
    found = _URL.fullmatch(url) if len(url) <= LONGEST else None
    if found is None:
        raise _forbidden("应为 https 网址，不含用户名、片段或 ASCII 以外的字符（域名请用 Punycode）")
    named, six = (found["host"] or "").lower(), found["six"]
    address = _literal(six or named)
    if (six and not isinstance(address, IPv6Address)) or not (address or _is_name(named)):
        raise _forbidden("主机应为完整域名，或标准写法的 IP 地址")
    scheme = found["scheme"]
    if scheme == "http" and not policy.plain:
        raise _forbidden("应使用 https")
    port = int(found["port"] or {"https": HTTPS, "http": HTTP}[scheme])
    if found["port"] and port not in policy.ports:
        raise _forbidden(f"端口 {port} 不在允许之列")
    path = found["target"]
    return Target(scheme, str(address or named), port, path if path.startswith("/") else f"/{path}")


def judge(target: Target, found: Iterable[Address], policy: Policy) -> tuple[Address, ...]:
    """The addresses to connect to: every one that the name has must be allowed. Raises ForbiddenTarget."""
    addresses = tuple(dict.fromkeys(found))
    if not addresses:
        raise _forbidden("域名没有地址")
    for address in addresses:
        if not _is_allowed(address, target.host, policy):
            raise _forbidden("该地址属于本机、链路、元数据服务、保留地址，或不在允许的内网范围")
        if target.is_plain and not (_is_listed(address, policy) or target.host in policy.hosts):
            raise _forbidden("未列入允许范围的地址应使用 https")
    return addresses


def _is_allowed(address: Address, host: str, policy: Policy) -> bool:
    if any(address.version == never.version and address in never for never in _NEVER):
        return False
    if isinstance(address, IPv6Address) and (
        address.scope_id or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    ):
        return False
    if _is_listed(address, policy):
        return True
    if any(address.version == own.version and address in own for own in _LOOPBACK):
        return False
    return address.is_global or (host in policy.hosts and address.is_private)


def _is_listed(address: Address, policy: Policy) -> bool:
    return any(address.version == network.version and address in network for network in policy.networks)


def _is_name(host: str) -> bool:
    return len(host) <= 253 and _NAME.fullmatch(host) is not None


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _forbidden(why: str) -> ForbiddenTarget:
    fault = wording.fault("/url", ForbiddenTarget.code, why)
    return ForbiddenTarget(why, errors=(fault,))
