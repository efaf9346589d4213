"""Which addresses the outside world may make us call: global unicast only, and none that an operator denies.
Pure; the names are resolved elsewhere."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
SIX_TO_FOUR = IPv6Network("2002::/16")
TEREDO = IPv6Network("2001::/32")
# Global by the registry, yet answered from within: site-local addresses (deprecated, still routed by some),
# and Azure's WireServer, which hands out a machine's certificates and settings.
ANSWERED_WITHIN: tuple[Network, ...] = (IPv6Network("fec0::/10"), IPv4Network("168.63.129.16/32"))

# Where a machine finds only what is on its own line: clouds hand out its credentials at such addresses.
LINK_LOCAL: tuple[Network, ...] = (
    IPv4Network("169.254.0.0/16"),
    IPv6Network("fe80::/10"),
    IPv6Network("fd00:ec2::254/128"),
    *ANSWERED_WITHIN,
)


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
    address = _parsed(text)
    return address is not None and all(
        each.is_global
        and not each.is_multicast
        and not each.is_reserved
        and not _is_in(each, ANSWERED_WITHIN)
        for each in {address, inner(address)} - _wrapped(address)
    )


def _parsed(text: str) -> Address | None:
    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _wrapped(address: Address) -> set[Address]:
    """A wrapping address counts as what is inside: the prefixes of NAT64 and 6to4 themselves say
    nothing."""
    return {address} if inner(address) != address else set()


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """What users' URLs may point to: the internet, private addresses if `allow_private`, and never what is in
    `denied`."""

    allow_private: bool = False
    denied: tuple[Network, ...] = ()

    def allows(self, text: str) -> bool:
        """Whether an address, as text, may be called."""
        address = _parsed(text)
        if address is not None and (_is_in(address, self.denied) or _is_in(inner(address), self.denied)):
            return False
        return self.allow_private or is_public(text)
