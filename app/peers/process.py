"""The peer's process: its parts put together, from its options to the end of standard input."""

import json
import logging
import sys

import trio
from multiaddr import Multiaddr

from app.domain.peers import CAPABILITIES, PREDICT
from app.peers.asking import Asker
from app.peers.control import serve_control
from app.peers.discovery import Discovery
from app.peers.identity import BadIdentity
from app.peers.node import Node, NodeOptions, report
from app.peers.serving import Server

NOISY = ("libp2p", "multiaddr", "zeroconf", "httpx", "httpcore", "async_service")


async def run_node(node: Node) -> None:
    """Until standard input ends: then its launcher has, too."""
    discovery, asker = Discovery(node), Asker(node)
    server = Server(node)
    node.host.set_stream_handler(CAPABILITIES, discovery.on_exchange)
    node.host.set_stream_handler(PREDICT, server.on_prediction)
    listen = [Multiaddr(each) for each in node.options.listen]
    async with node.host.run(listen), trio.open_nursery() as nursery:
        await nursery.start(serve_control, node, asker)
        nursery.start_soon(server.keep_models)
        nursery.start_soon(discovery.run)
        report("peer_ready", id=node.id, addresses=node.addresses(), serves=bool(node.options.api_key))
        await trio.to_thread.run_sync(sys.stdin.buffer.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


def main() -> int:
    """Reads its options, one line of JSON, from standard input."""
    for name in ("", *NOISY):  # what goes wrong is said once, by us
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = NodeOptions.from_json(json.loads(sys.stdin.buffer.readline()))
    try:
        node = Node(options)
        trio.run(run_node, node)
    except BadIdentity as error:
        report("peer_not_started", reason=str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
