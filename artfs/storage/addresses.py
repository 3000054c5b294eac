"""The addresses that nobody may be led to by a manifest: link-local ones, and the metadata services of clouds, which give credentials away.

Other private addresses are allowed: the servers of a laboratory have them.
"""

from __future__ import annotations

import ipaddress
import socket

_NETWORKS = [
    ipaddress.ip_network(text)
    for text in (
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure
        "192.0.0.192/32",  # Oracle
        "fd00:ec2::/32",  # Amazon
        "fd20:ce::/64",  # Google
    )
]
_NAMES = {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_forbidden(host: str) -> bool:
    """Whether a host, an address in any spelling or a name, must not be read from on behalf of a manifest.

    Of other names nothing is known here: what they resolve to is checked when it is connected to.
    """
    host = host.strip("[]").partition("%")[0].rstrip(".").lower()
    address = _address(host)
    return host in _NAMES if address is None else any(_is_forbidden(one) for one in _meanings(address))


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(
            socket.inet_aton(host)
        )  # 0xa9fea9fe, 169.254.43518 and the like, as connect() reads them
    except OSError:
        return None


def _meanings(address: _Address) -> list[_Address]:
    """Return an address and what it is another spelling of."""
    found = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64 or address in _COMPATIBLE:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found += [one for one in inner if one is not None]
    return found


def _is_forbidden(address: _Address) -> bool:
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or any(address in network for network in _NETWORKS)
    )
