"""Every way in which a request can fail, as an error of ours with a sentence that helps."""

from __future__ import annotations

import http.client
import re
import ssl

import googleapiclient.errors
import httplib2

from arvados_fuse.errors import (
    AccessRefused,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    Forbidden,
    NoSuchEntry,
    TimedOut,
)

__all__ = ["not_an_api_server", "translated"]

QUOTE_MAX = 250
"""Characters of a server's message that are passed on to a log line."""


def translated(error: Exception, host: str, token: str) -> Exception:
    """Return the error of ours that says what `error` means; itself if it is a defect."""
    if isinstance(error, googleapiclient.errors.HttpError):
        return _of_status(error, host, token)
    if isinstance(error, ssl.CertificateError):
        why = re.search(r"verify failed: ([^(\n]+)", str(error))
        reason = f" ({why[1].strip()})" if why else ""
        return ClusterUnreachable(
            f"The certificate of {host} is not trusted{reason}. Set SSL_CERT_FILE to the"
            " certificate of its authority, or ARVADOS_API_HOST_INSECURE=1 to accept any."
        )
    if isinstance(error, TimeoutError):
        return TimedOut(f"The Arvados API host {host} did not answer in time.")
    if isinstance(error, OSError | httplib2.HttpLib2Error | http.client.HTTPException):
        reason = _one_line(str(error), token)
        return ClusterUnreachable(f"The connection to the Arvados API host {host} failed: {reason}")
    if isinstance(error, googleapiclient.errors.Error | ValueError | KeyError):
        return not_an_api_server(host, error)
    return error


def _of_status(error: googleapiclient.errors.HttpError, host: str, token: str) -> FileSystemError:
    status = int(error.resp.status)
    said = f"{host} answered {status}: {_one_line(error.reason, token) or 'no reason given'}"
    if status == 404:
        return NoSuchEntry(said)
    if status == 401:
        return AccessRefused(f"{said}. Is ARVADOS_API_TOKEN valid for this cluster?")
    if status == 403:
        return Forbidden(f"{said}. Does ARVADOS_API_TOKEN give the right to do this?")
    if status in (408, 504):
        return TimedOut(said)
    return ClusterError(said)


def not_an_api_server(host: str, error: Exception) -> ClusterError:
    """Return the error for an answer that no API server would give."""
    return ClusterError(
        f"The answer of {host} is not that of an Arvados API server ({type(error).__name__})."
        " Is ARVADOS_API_HOST right?"
    )


def _one_line(said: str, token: str) -> str:
    """Make what a server said fit for a log: one line, not endless, and without our token."""
    secret = token.rpartition("/")[2]  # version 2 tokens: v2/UUID/SECRET
    for private in (token, secret):
        if private:
            said = said.replace(private, "[token]")
    said = " ".join(said.split())
    return said if len(said) <= QUOTE_MAX else said[:QUOTE_MAX] + "..."
