"""Messages over one libp2p stream."""

import json
from typing import Any

import trio
from libp2p.io.msgio import VarIntLengthMsgReadWriter

from app.domain.peers import BACKEND, FRAME_BYTES, BadMessage, Joiner, cut


class PeerFailed(Exception):
    """A peer gave no answer. The sentence goes on after its name; `fault` is whose fault it is."""

    is_silence = False

    def __init__(self, sentence: str, fault: str = BACKEND) -> None:
        super().__init__(sentence)
        self.sentence, self.fault = sentence, fault


class PeerSilent(PeerFailed):
    """Nothing came in time: its machine hangs, or is gone without a word."""

    is_silence = True


class MessageStream:
    """Whatever libp2p raises is a PeerFailed here. Several tasks may send."""

    def __init__(self, stream: Any) -> None:
        self.peer = str(stream.muxed_conn.peer_id)
        self._stream = stream
        self._frames = VarIntLengthMsgReadWriter(stream, max_msg_size=FRAME_BYTES)
        self._joiner, self._sending = Joiner(), trio.Lock()

    async def send(self, message: dict[str, Any]) -> None:
        try:
            async with self._sending:
                for frame in cut(json.dumps(message).encode()):
                    # Cut off in the middle, the connection's ciphers would not agree any more. A peer that
                    # takes nothing ends this within seconds: yamux does.
                    with trio.CancelScope(shield=True):
                        await self._frames.write_msg(frame)
        except BadMessage as error:
            raise PeerFailed(str(error)) from error
        except Exception as error:  # libp2p raises a dozen kinds for a stream that has ended
            raise PeerFailed(f"takes nothing more ({type(error).__name__})") from error

    async def receive(self) -> dict[str, Any]:
        """The next message."""
        try:
            while (message := self._joiner.add(await self._frames.read_msg())) is None:
                pass
            value = json.loads(message)
        except (BadMessage, ValueError) as error:
            raise PeerFailed(f"sent no message: {error}") from error
        except Exception as error:  # the same
            raise PeerFailed(f"broke off ({type(error).__name__})") from error
        if not isinstance(value, dict):
            raise PeerFailed("sent JSON that is no object")
        return value

    async def close(self) -> None:
        """What was sent arrives; never raises."""
        await self._end(self._stream.close)

    async def reset(self) -> None:
        """Both sides stop; never raises."""
        await self._end(self._stream.reset)

    async def _end(self, how: Any) -> None:
        with trio.move_on_after(1, shield=True):
            try:
                await how()
            except Exception:  # noqa: BLE001 - whatever it says, the stream is over
                return
