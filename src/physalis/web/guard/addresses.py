"""addresses: who asks, as far as the network tells."""

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def household(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one, since that is what one household has. An IPv4 address that is spelled
    as IPv6, by a socket for both kinds or on the way through a tunnel (6to4, RFC 3056; Teredo, RFC 4380), is itself:
    whoever has one has 65,536 networks of the former. What is no address is returned as it is."""
    address = read_address(host)
    if address is None:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.sixtofour or (address.teredo[1] if address.teredo else None)
        return str(inside or ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, or None if it is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
