"""A server that asks for user and password, in front of one that asks nobody."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import bson

_MSG, _MORE_TO_COME = 2013, 2
_OPEN = ("hello", "ismaster", "isMaster", "ping", "buildInfo", "endSessions")
_ITERATIONS = 4096


class _Scram:
    """The server's side of SCRAM-SHA-1 (RFC 5802), as MongoDB asks for it."""

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.salt = secrets.token_bytes(16)
        digest = hashlib.md5(f"{user}:mongo:{password}".encode()).hexdigest()
        self.salted = hashlib.pbkdf2_hmac("sha1", digest.encode(), self.salt, _ITERATIONS)

    def start(self, payload: bytes) -> bytes:
        self.first = payload.partition(b"n,,")[2]
        fields = dict(part.split(b"=", 1) for part in self.first.split(b","))
        self.known = fields[b"n"].decode() == self.user
        nonce = fields[b"r"].decode() + secrets.token_hex(12)
        salt = base64.b64encode(self.salt).decode()
        self.reply = f"r={nonce},s={salt},i={_ITERATIONS}".encode()
        return self.reply

    def finish(self, payload: bytes) -> bytes | None:
        without, _, proof = payload.partition(b",p=")
        message = b",".join([self.first, self.reply, without])
        key = hmac.digest(self.salted, b"Client Key", "sha1")
        signature = hmac.digest(hashlib.sha1(key).digest(), message, "sha1")
        expected = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        if not self.known or not hmac.compare_digest(expected, base64.b64decode(proof)):
            return None
        server = hmac.digest(hmac.digest(self.salted, b"Server Key", "sha1"), message, "sha1")
        return b"v=" + base64.b64encode(server)


def _read(stream: socket.socket) -> bytes:
    head = _exactly(stream, 4)
    return head + _exactly(stream, struct.unpack("<i", head)[0] - 4)


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = stream.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found


def _answer(request: bytes, document: dict[str, Any]) -> bytes:
    body = struct.pack("<IB", 0, 0) + bson.encode(document)
    number = struct.unpack("<i", request[4:8])[0]
    return struct.pack("<4i", 16 + len(body), 1, number, _MSG) + body


def _serve(client: socket.socket, server: socket.socket, user: str, password: str) -> None:
    scram, inside = _Scram(user, password), False
    with contextlib.suppress(EOFError, OSError), client, server:
        while True:
            request = _read(client)
            code = struct.unpack("<i", request[12:16])[0]
            flags = struct.unpack("<I", request[16:20])[0] if code == _MSG else 0
            command = {}
            if code == _MSG and request[20] == 0:
                size = struct.unpack("<i", request[21:25])[0]
                command = bson.decode(request[21 : 21 + size])
            name = next(iter(command), "hello")
            if name == "saslStart":
                reply = scram.start(command["payload"])
                said = {"conversationId": 1, "done": False, "payload": reply, "ok": 1.0}
                client.sendall(_answer(request, said))
            elif name == "saslContinue":
                final = scram.finish(command["payload"])
                inside = final is not None
                said = {"conversationId": 1, "done": True, "payload": final or b"", "ok": 1.0}
                if not inside:
                    said = {"ok": 0.0, "errmsg": "Authentication failed.", "code": 18}
                client.sendall(_answer(request, said))
            elif not inside and name not in _OPEN:
                said = {"ok": 0.0, "errmsg": f"{name} requires authentication", "code": 13}
                client.sendall(_answer(request, said))
            else:
                server.sendall(request)
                if not flags & _MORE_TO_COME:
                    client.sendall(_read(server))


@contextlib.contextmanager
def asking_for_password(host: str, port: int, user: str, password: str) -> Iterator[int]:
    """Listen on a free port, which is given, for as long as the context lasts."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, port))
                threading.Thread(
                    target=_serve, args=(client, server, user, password), daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
