"""A client of Keep for tests: requests as they are written, answers as they come."""

import hashlib
import http.client
from urllib.parse import urlsplit


class KeepClient:
    """A client that sends what it is told and understands nothing."""

    def __init__(self, cluster):
        self.address = urlsplit(cluster.keep_url()).netloc
        self.token = cluster.env["ARVADOS_API_TOKEN"]

    def request(self, method, path, body=None, headers=None, token=...):
        """Return status, headers and body; a body that is cut is http.client.IncompleteRead."""
        token = self.token if token is ... else token
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            connection.request(method, path, body, {**authorization, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def put(self, content, **options):
        """Store a block, and return its signed locator."""
        block_hash = hashlib.md5(content).hexdigest()
        status, _, body = self.request("PUT", f"/{block_hash}", content, **options)
        assert status == 200, body
        return body.decode().rstrip("\n")

    def get(self, locator, **options):
        return self.request("GET", f"/{locator}", **options)
