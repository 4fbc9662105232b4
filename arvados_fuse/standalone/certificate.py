"""The TLS certificate of the API: self-signed, for this machine only, made at the first start.

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

from arvados_fuse.standalone.directory import write_file

__all__ = ["tls_context"]

_LIFETIME = timedelta(days=3650)
_RENEW_BEFORE = timedelta(days=30)


def tls_context(path: Path) -> ssl.SSLContext:
    """Return a server's TLS settings with the key and certificate in the file `path`.

    Makes the file if it is not there, cannot be read as one, or is about to expire.
    """
    if not _is_good(path):
        write_file(path, _new_key_and_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _is_good(path: Path) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return certificate.not_valid_after_utc > datetime.now(timezone.utc) + _RENEW_BEFORE


def _new_key_and_certificate() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "arv-standalone")])
    now = datetime.now(timezone.utc)
    hosts = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
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
