"""The page on which a person looks through photos: served on 127.0.0.1 alone, to whoever has the token in its address.

What the page shows and what becomes of the answers is a session's: `review.Review` or `annotate.Annotation`.
"""

from __future__ import annotations

import hmac
import http.server
import json
import secrets
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from keras_models.command import UserError

LONGER_SIDE = 1600  # photos and masks are shown at this size at most
LARGEST_ACTION = 4_000_000  # bytes: a mask mended with very many strokes has some 100,000


class Session(Protocol):
    """What `serve` shows. Both calls come from several threads, one at a time; UserError refuses an action."""

    def state(self) -> dict:
        """What the page needs when it opens: `mode`, `photos` (each with its `name`) and more."""

    def apply(self, action: dict) -> dict:
        """Do what the page asks for, and save it; what the page is told of it."""

    def load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """RGB uint8 and RGBA uint8, the tinted labels, of a photo, both as `fitted`; KeyError for an unknown name.

        It may be called by several threads at once.
        """


class _Shelf:
    """Where a file waits for the request that follows."""

    def __init__(self):
        self.lock, self.key, self.file = threading.Lock(), None, b""


class Server(http.server.ThreadingHTTPServer):
    """Serves a session at `address`, until `shutdown` is called."""

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0):
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise UserError(
                f"Cannot open the port {port} on 127.0.0.1: {error}. Choose another with --port."
            ) from error
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.lock = threading.Lock()
        self.changes = 0
        self.shelves = [_Shelf() for _ in range(16)]
        self.address = f"http://127.0.0.1:{self.server_port}/{self.token}/"

    def file(self, kind: str, name: str) -> bytes:
        """The `photo` of a name as JPEG, or its `mask`, the tinted labels, as PNG.

        A page asks for both at the same time; they are read once, and the second request finds its file.
        """
        shelf = self.shelves[hash(name) % len(self.shelves)]
        with shelf.lock:
            changes = self.changes
            if shelf.key == (kind, name, changes):
                shelf.key = None
                return shelf.file
            image, mask = self.session.load(name)
            files = {"photo": _encode(".jpg", image), "mask": _encode(".png", mask)}
            other = "mask" if kind == "photo" else "photo"
            shelf.key, shelf.file = (other, name, changes), files[other]
            return files[kind]

    def handle_error(self, request, client_address) -> None:
        """Nothing for a browser that went away; a traceback for what is a mistake here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(session: Session, port: int) -> None:
    """Print the page's address and serve it until Ctrl-C."""
    with Server(session, port) as server:
        print(f"{server.address}\n\nOpen this address in a browser on this computer. Ctrl-C ends it.", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nstopped; everything is saved")


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET the page, `state`, `photo/NAME` and `mask/NAME`; POST `apply`; all below the token."""

    protocol_version = "HTTP/1.1"  # connections stay open, so that a photo costs no new one
    server: Server

    def do_GET(self) -> None:
        path = self._path()
        if path is None:
            return
        kind, _, name = path.partition("/")
        if path == "":
            nonce = secrets.token_urlsafe(16)
            page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8").replace("NONCE", nonce)
            policy = (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; "
                "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            self._send(200, "text/html; charset=utf-8", page.encode(), {"Content-Security-Policy": policy})
        elif path == "state":
            with self.server.lock:
                state = self.server.session.state()
            self._json(200, state)
        elif kind in ("photo", "mask") and name:
            try:
                file = self.server.file(kind, urllib.parse.unquote(name))
            except KeyError:
                return self._json(404, {"error": "There is no such photo in this set."})
            except UserError as error:
                return self._json(422, {"error": str(error)})
            # A mask that is mended gets another address (?v=), so both may be kept.
            keep = {"Cache-Control": "private, max-age=86400, immutable"}
            self._send(200, "image/jpeg" if kind == "photo" else "image/png", file, keep)
        else:
            self._json(404, {"error": "There is nothing here."})

    def do_POST(self) -> None:
        path = self._path()
        if path is None:
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_ACTION:
            self.close_connection = True  # what is not read would be taken for the next request
            return self._json(413, {"error": "This is too long."})
        body = self.rfile.read(int(length))
        # A page of another site cannot send this type without being asked for leave, which nobody gives here.
        if path != "apply" or self.headers.get_content_type() != "application/json":
            return self._json(404, {"error": "There is nothing here."})
        try:
            action = json.loads(body)
            with self.server.lock:
                answer = self.server.session.apply(action)
                self.server.changes += 1  # what was read before may be another mask
        except (UserError, ValueError, KeyError, TypeError, AttributeError) as error:
            return self._json(400, {"error": str(error) or type(error).__name__})
        except OSError as error:
            return self._json(500, {"error": f"Not saved: {error.strerror or error}"})
        self._json(200, answer)

    def _path(self) -> str | None:
        """What is asked for below the token; None when the answer, a refusal, has been given."""
        hosts = [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]
        if self.headers.get("Host") not in hosts:  # a name that was made to point here (DNS rebinding)
            self.close_connection = True
            return self._json(403, {"error": "This is for 127.0.0.1 alone."})
        token, slash, path = urllib.parse.urlsplit(self.path).path.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()) or not slash:
            self.close_connection = True
            return self._json(404, {"error": "There is nothing here. The address with its token is in the terminal."})
        return path

    def _json(self, status: int, content: dict) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        always = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in {**always, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def version_string(self) -> str:
        return "PocketSeg"

    def log_message(self, *_) -> None:
        """Nothing: the terminal shows the address, not every photo."""


def fitted(image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RGB and labels no larger than they are shown."""
    scale = LONGER_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image, labels
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.resize(
        labels, size, interpolation=cv2.INTER_NEAREST
    )


def _encode(suffix: str, image: np.ndarray) -> bytes:
    """A JPEG of RGB or a PNG of RGBA."""
    order = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 92]
    return cv2.imencode(suffix, cv2.cvtColor(image, order), quick)[1].tobytes()


def now() -> str:
    """The time for a list, as 2026-01-31T12:00:00+0000."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
