"""Which addresses of a network a gateway may have, compared when the connection is made.

Whoever types in a gateway's URL could otherwise have this server ask what only this server can reach: the
cloud's metadata, its own loopback, a printer next door. A name is no help: what it leads to can change after
it was saved. So each address that a name leads to is looked at, and exactly that one is connected to.
"""

import socket
from ipaddress import ip_address, ip_network

NEVER, PRIVATE = "never", "private"

# This network, link-local (the metadata of most clouds is there), multicast, reserved; then what clouds keep
# for their own machines only: Alibaba, Oracle, Azure, Amazon, Google.
_NEVER = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
        *(
            "100.100.100.200/32",
            "192.0.0.192/32",
            "168.63.129.16/32",
            "fd00:ec2::254/128",
            "fd20:ce::254/128",
        ),
    )
]
# Loopback, private, shared by a provider's customers (100.64), for documentation and benchmarks.
_PRIVATE = [
    ip_network(text)
    for text in (
        *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
        *("192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("::1/128", "fc00::/7", "fec0::/10", "2001:db8::/32"),
    )
]
# All others of IPv6 are link-local, multicast, unspecified or not given to anybody.
_PUBLIC_6 = ip_network("2000::/3")
# An IPv4 address stands in the last 32 bits: mapped, and translated (NAT64).
_ENDS_IN_4 = [ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96")]


class NotAllowed(OSError):
    """The address of the host is not one that is asked.

    ``kind``: ``NEVER``, or ``PRIVATE`` where the server's configuration could allow it.
    """

    def __init__(self, kind):
        super().__init__(kind)
        self.kind = kind


def kind_of(text):
    """``NEVER``, ``PRIVATE``, or "" for an address that anybody can reach.

    :param str text: an IPv4 or IPv6 address, perhaps with a zone.
    :raise ValueError: it is none.
    """
    address = ip_address(text.partition("%")[0])
    if any(address in network for network in _NEVER if network.version == address.version):
        return NEVER
    if address.version == 6:
        inner = _inside(address)
        if inner:
            return _worst(kind_of(str(each)) for each in inner)
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return PRIVATE
    return NEVER if address.version == 6 and address not in _PUBLIC_6 else ""


def _inside(address):
    """The IPv4 addresses to which an IPv6 address leads."""
    if any(address in network for network in _ENDS_IN_4):
        return [ip_address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour:
        return [address.sixtofour]
    return list(address.teredo or ())


def _worst(kinds):
    kinds = set(kinds)
    return next((kind for kind in (NEVER, PRIVATE) if kind in kinds), "")


def connect(host, port, seconds_left, allow_private=False):
    """Connect to the first address of a host that may be asked and answers.

    :param seconds_left: a function that says how long it may still take, and raises when that is over.
    :param bool allow_private: whether loopback and private addresses may be asked.
    :return: the socket.
    :raise NotAllowed: the host has no address that may be asked.
    :raise OSError: there is no such host, or no connection to it.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    kinds = [kind_of(where[0]) for *_how, where in found]
    forbidden = {NEVER} if allow_private else {NEVER, PRIVATE}
    # After the look-up: whoever was slow to look it up writes nothing any more.
    failure = NotAllowed(PRIVATE if PRIVATE in kinds and not allow_private else NEVER)
    for (family, kind, protocol, _name, where), verdict in zip(found, kinds, strict=True):
        if verdict in forbidden:
            continue
        try:
            return _connected(socket.socket(family, kind, protocol), where, seconds_left())
        except OSError as error:
            failure = error
    raise failure


def _connected(sock, where, seconds):
    try:
        # A small request goes out at once, whatever is still to be acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(seconds)
        sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock
