"""addresses: who asks, as far as the network tells."""

import ipaddress

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def household(host: str) -> str:
    """An IPv4 address, or the /64 of an IPv6 one, since that is what one household has. An IPv4 address that a socket
    for both kinds spells as IPv6 is itself; what is no address is returned as it is."""
    address = read_address(host)
    if address is None:
        return host
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


def read_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, or None if it is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
