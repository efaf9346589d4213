"""What a port that should speak gRPC over TLS makes of a client, in a sentence: gRPC itself says little when
a handshake fails."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

SECONDS = 5.0
# How an HTTP/2 client begins: the preface and empty settings. A server that takes it answers with its own.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class TlsClient:
    """What the client has, PEM."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def find_fault(host: str, port: int, client: TlsClient) -> str:
    """Why such a client cannot call; "" when it can."""
    try:
        context = ssl.create_default_context(cafile=client.ca)
        context.set_alpn_protocols(["h2"])
        if client.certificate:
            context.load_cert_chain(client.certificate, client.key)
    except (OSError, ssl.SSLError) as error:
        return f"the client's own files cannot be used: {getattr(error, 'strerror', None) or error}"
    try:
        return asyncio.run(asyncio.wait_for(_call(host, port, context, client), SECONDS))
    except TimeoutError:
        return f"it does not answer within {SECONDS:g} s"
    except ssl.SSLCertVerificationError as error:
        return (
            f"its certificate is not trusted by this client: {error.verify_message}; --ca names its authority"
        )
    except ssl.SSLError:
        return "it does not speak TLS: clients call it in plaintext"
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"


async def _call(host: str, port: int, context: ssl.SSLContext, client: TlsClient) -> str:
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(PREFACE)
        if await reader.read(1):
            return ""
    except (ssl.SSLError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    if client.certificate is None:
        return "it wants a client certificate (mutual TLS), and there was none: --certificate and --key"
    return "it refuses this client's certificate: another authority has signed it, or it has expired"
