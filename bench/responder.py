"""A bare responder: answers every POST with 202, keeps connections alive, and counts them.

Run as a process of its own: ``python responder.py SECONDS [CERTIFICATE]``; it answers a POST after
so many seconds. It prints its port, and answers a GET with the number of posts.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

BODY = b'{"status":"success","message":"Event processed","dedup_key":"db-1/disk"}'


def answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


ACCEPTED = answer(b"202 Accepted", BODY)


class Responder(asyncio.Protocol):
    """One connection."""

    after = 0.0
    posts = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is there as a whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            if head.startswith(b"get"):
                self.received = b""
                self.transport.write(answer(b"200 OK", b"%d" % Responder.posts))
                return
            marker = head.index(b"content-length:") + len(b"content-length:")
            whole = end + 4 + int(head[marker:].split(b"\r\n", 1)[0])
            if len(self.received) < whole:
                return
            self.received = self.received[whole:]
            Responder.posts += 1
            if Responder.after:
                asyncio.get_running_loop().call_later(
                    Responder.after, self.transport.write, ACCEPTED
                )
            else:
                self.transport.write(ACCEPTED)


async def serve(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Responder, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    # ends with the process that started it
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    Responder.after = float(sys.argv[1])
    asyncio.run(serve(sys.argv[2] if len(sys.argv) > 2 else None))
