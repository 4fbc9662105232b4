"""Where a standalone cluster listens, what it is called, and what that allows."""

import asyncio
import json
import socket
from unittest import mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from cryptography import x509

from arvados_fuse.standalone import network as module
from arvados_fuse.standalone.certificate import tls_context
from arvados_fuse.standalone.cli import main
from arvados_fuse.standalone.faults import Faults
from arvados_fuse.standalone.network import LOCAL, AddressUnusable, is_loopback, network


class TestNetwork:
    """--listen and --name"""

    def test_without_options_it_is_for_this_machine_alone(self):
        assert network(None, None) == LOCAL == ("127.0.0.1", "127.0.0.1")
        assert LOCAL.warning is None

    def test_loopback_addresses_need_no_warning(self):
        found = network("127.0.0.2", None)
        assert found == ("127.0.0.2", "127.0.0.2")
        assert found.warning is None

    @pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0"])
    def test_warning_says_what_others_can_do(self, address):
        warning = network(address, "localhost").warning
        for word in (address, "without a token", "plain text", "trust"):
            assert word in warning

    def test_clients_use_the_address(self):
        assert network("192.0.2.1", None).host == "192.0.2.1"

    def test_clients_use_the_name_of_the_machine_if_there_are_several_addresses(self, monkeypatch):
        monkeypatch.setattr(module.socket, "gethostname", lambda: "localhost")
        assert network("0.0.0.0", None) == ("0.0.0.0", "localhost")

    def test_clients_use_the_name_that_is_given(self):
        assert network("192.0.2.1", "localhost").host == "localhost"

    @pytest.mark.parametrize("address", ["", "::1", "localhost", "192.0.2.256", "192.0.2.1:80"])
    def test_what_is_no_address_is_refused(self, address, tmp_path, capsys):
        with pytest.raises(AddressUnusable, match="not an IPv4 address"):
            network(address, None)
        assert main([str(tmp_path / "c"), "--listen", address]) == 1
        assert "not an IPv4 address" in capsys.readouterr().err
        assert not (tmp_path / "c").exists()

    def test_name_without_an_address_is_refused(self):
        with pytest.raises(AddressUnusable, match="together with an address"):
            network(None, "localhost")

    def test_name_that_nobody_can_find_is_refused(self, monkeypatch):
        monkeypatch.setattr(module.socket, "getaddrinfo", mock.Mock(side_effect=socket.gaierror))
        with pytest.raises(AddressUnusable, match="--name"):
            network("0.0.0.0", "nowhere")

    @pytest.mark.parametrize(
        ("address", "is_ours"),
        [
            ("127.0.0.1", True),
            ("127.8.8.8", True),
            ("::1", True),
            ("192.0.2.1", False),
            ("", False),
        ],
    )
    def test_loopback(self, address, is_ours):
        assert is_loopback(address) is is_ours


class TestCertificate:
    """tls.pem is for the name under which clients reach the API"""

    def hosts(self, path):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(name.value) for name in names}

    def test_it_is_always_for_this_machine(self, tmp_path):
        tls_context(tmp_path / "tls.pem")
        assert self.hosts(tmp_path / "tls.pem") == {"127.0.0.1", "localhost"}

    @pytest.mark.parametrize("host", ["data.example.org", "192.0.2.1"])
    def test_it_is_made_anew_for_another_name_and_then_stays(self, tmp_path, host):
        path = tmp_path / "tls.pem"
        tls_context(path)
        tls_context(path, host)
        assert self.hosts(path) == {"127.0.0.1", "localhost", host}
        before = path.read_bytes()
        for again in (host, "localhost", "127.0.0.1"):
            tls_context(path, again)
        assert path.read_bytes() == before


class TestFaultControl:
    """/_control is for who is on this machine, whatever his token"""

    def control(self, peer):
        """Ask for the counts from the address `peer`; return status or body."""
        transport = mock.Mock()
        transport.get_extra_info.side_effect = {"peername": (peer, 1)}.get
        request = make_mocked_request("GET", "/_control/requests", transport=transport)
        misbehave = Faults(lambda _token: True).middleware("api", lambda _request: "")
        try:
            return json.loads(asyncio.run(misbehave(request, None)).body)
        except web.HTTPException as error:
            return error.status

    def test_others_are_refused(self):
        assert self.control("127.0.0.1") == {}
        assert self.control("192.0.2.1") == 403
