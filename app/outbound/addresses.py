"""Which addresses the outside world may make us call: global unicast only. Pure; the names are resolved
elsewhere."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")


def inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (v4-mapped, v4-compatible, NAT64, 6to4, Teredo), else the
    address."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if any(address in network for network in NAT64) or int(address) >> 32 == 0:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in SIX_TO_FOUR and address.sixtofour:
        return address.sixtofour
    if address in TEREDO and address.teredo:
        return address.teredo[1]
    return address


def is_public(text: str) -> bool:
    """Whether an address is global unicast, also after unwrapping. Text that is no address is not."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(
        each.is_global and not each.is_multicast and not each.is_reserved
        for each in {address, inner(address)} - _wrapped(address)
    )


def _wrapped(address: Address) -> set[Address]:
    """A wrapping address counts as what is inside: the prefixes of NAT64 and 6to4 themselves say
    nothing."""
    return {address} if inner(address) != address else set()
