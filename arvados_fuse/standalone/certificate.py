"""The TLS certificate of the API: self-signed, for this machine only, made when it is needed.

Clients of the SDK always speak TLS to the API; ``ARVADOS_API_HOST_INSECURE`` lets them accept
a certificate that nobody has signed.
"""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arvados_fuse.standalone.core import HOST
from arvados_fuse.standalone.directory import write_file

__all__ = ["tls_context"]

_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)


def tls_context(path: Path, host: str = HOST) -> ssl.SSLContext:
    """Return a server's TLS settings with the key and certificate in the file `path`.

    Makes the file if it is not there, cannot be read as one, is about to expire, or is not for
    the name or address `host`. It is always for the loopback interface, too.
    """
    if not _is_good(path, host):
        write_file(path, _new_key_and_certificate(host))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    # Tickets come after the handshake. A client that reads and writes in two threads, as the
    # official one of the event bus does, may take them in while it sends its request; with them
    # some of its connections hung.
    context.num_tickets = 0
    return context


def _is_good(path: Path, host: str) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (FileNotFoundError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = certificate.not_valid_after_utc > datetime.now(timezone.utc) + _RENEW_BEFORE
    return lasts and _general_name(host) in list(hosts)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.encode("idna").decode())


def _new_key_and_certificate(host: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "arv-standalone")])
    now = datetime.now(timezone.utc)
    hosts = [_general_name(one) for one in dict.fromkeys((HOST, "localhost", host))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of containers and their hosts can differ a little.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
