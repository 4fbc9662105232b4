"""An API server on loopback that answers what a test tells it to, over TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Answer", "ApiServer", "Request"]


class Request(NamedTuple):
    """A request: its path below /arvados/v1/, its decoded parameters, its token."""

    path: str
    parameters: dict[str, Any]
    token: str


class Answer(NamedTuple):
    """What the server answers: JSON, or this text as it is.

    missing: bytes that are announced beyond those that come before the connection ends
    """

    body: Any
    status: int = 200
    content_type: str = "application/json"
    missing: int = 0


class ApiServer:
    """Answers each request with `answers[path]`: an Answer, or a function of the Request."""

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Answer | Callable[[Request], Answer]] = {
            "config": Answer({"Collections": {"ForwardSlashNameSubstitution": "%"}}),
        }
        self.requests: list[Request] = []
        self.certificate = directory / "certificate.pem"
        _make_certificate(self.certificate)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.answers["discovery"] = Answer(_discovery(self.host))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def host(self) -> str:
        """The server as ARVADOS_API_HOST."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ApiServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                path = url.path.removeprefix("/arvados/v1/")
                if url.path.startswith("/discovery/"):
                    path = "discovery"
                parameters = {k: _decoded(v[0]) for k, v in parse_qs(url.query).items()}
                token = self.headers.get("Authorization", "").removeprefix("Bearer ")
                request = Request(path, parameters, token)
                server.requests.append(request)
                answer = server.answers.get(path, Answer({"errors": ["not found"]}, 404))
                self._send(answer if isinstance(answer, Answer) else answer(request))

            def _send(self, answer: Answer) -> None:
                body = answer.body
                encoded = (body if isinstance(body, str) else json.dumps(body)).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(encoded) + answer.missing))
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, *args: object) -> None:
                """Be quiet."""

        return Handler


def _decoded(parameter: str) -> Any:
    try:
        return json.loads(parameter)
    except ValueError:
        return parameter


def _discovery(host: str) -> dict[str, Any]:
    """Just enough of a discovery document for the calls of the mount."""

    def method(path: str, **parameters: str) -> dict[str, Any]:
        return {
            "id": path,
            "path": path,
            "httpMethod": "GET",
            "response": {},
            "parameters": {
                name: {"type": kind, "location": "path" if f"{{{name}}}" in path else "query"}
                for name, kind in parameters.items()
            },
        }

    lists = {
        "filters": "array",
        "select": "array",
        "order": "array",
        "limit": "integer",
        "count": "string",
    }
    resources = {
        "users": {
            "current": method("users/current"),
            "get": method("users/{uuid}", uuid="string", select="array"),
            "list": method("users", **lists),
        },
        "configs": {"get": method("config")},
        "keep_services": {"accessible": method("keep_services/accessible")},
        "groups": {
            "get": method("groups/{uuid}", uuid="string", select="array"),
            "list": method("groups", **lists),
            "contents": method("groups/contents", uuid="string", **lists),
        },
        "collections": {
            "get": method(
                "collections/{uuid}", uuid="string", select="array", include_trash="boolean"
            ),
            "list": method("collections", **lists),
        },
    }
    return {
        "kind": "discovery#restDescription",
        "name": "arvados",
        "version": "v1",
        "rootUrl": f"https://{host}/",
        "servicePath": "arvados/v1/",
        "blobSignatureTtl": 1000,
        "schemas": {},
        "resources": {name: {"methods": methods} for name, methods in resources.items()},
    }


def _make_certificate(path: Path) -> None:
    """Write a key and a certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
