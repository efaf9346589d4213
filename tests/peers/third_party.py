"""A node on bare libp2p that knows nothing of Lovage but docs/peers.md: it asks a peer what it can do, has it
run a prediction, and prints what came. `third_party.py SEED ADDRESS MODEL INPUT [SHARED_KEY]`"""

import json
import logging
import sys

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.io.msgio import VarIntLengthMsgReadWriter
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

SEED, ADDRESS, MODEL, INPUT, *SHARED_KEY = sys.argv[1:]


async def receive(frames):
    message = b""
    while True:
        frame = await frames.read_msg()
        message += frame[1:]
        if frame[:1] == b"\x01":
            return json.loads(message)


async def talk(host, peer, protocol, message):
    stream = await host.new_stream(peer, [protocol])
    frames = VarIntLengthMsgReadWriter(stream, max_msg_size=256_000)
    await frames.write_msg(b"\x01" + json.dumps(message).encode())
    while True:
        answer = await receive(frames)
        print(json.dumps(answer), flush=True)
        if protocol.startswith("/lovage/capabilities") or answer.get("done") or "error" in answer:
            return


async def main():
    logging.disable(logging.CRITICAL)
    host = new_host(key_pair=create_new_key_pair(bytes.fromhex(SEED)), psk=(SHARED_KEY or [None])[0])
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        peer = info_from_p2p_addr(Multiaddr(ADDRESS))
        with trio.fail_after(20):
            await host.connect(peer)
            await talk(host, peer.peer_id, "/lovage/capabilities/1.0.0", {"name": "third"})
        wanted = {"model": MODEL, "input": json.loads(INPUT)}
        with trio.fail_after(40):
            await talk(host, peer.peer_id, "/lovage/predict/1.0.0", wanted)


trio.run(main)
