"""A standalone cluster that listens on another address than usual: everything follows."""

import http.client
import socket
import ssl
from urllib.parse import urlsplit

import pytest

from tests.support.cluster import RunningCluster
from tests.support.keep_client import KeepClient

DISCOVERY = "/discovery/v1/apis/arvados/v1/rest"


def hosts_of(cluster):
    """The hosts that clients are told of: API, event stream, Keep."""
    document = cluster.request("GET", DISCOVERY)[1]
    services = cluster.request("GET", "/arvados/v1/keep_services/accessible")[1]["items"]
    urls = (document["rootUrl"], document["websocketUrl"])
    return {
        cluster.env["ARVADOS_API_HOST"].split(":")[0],
        *(urlsplit(url).hostname for url in urls),
        *(service["service_host"] for service in services),
    }


def ports_of(cluster):
    document = cluster.request("GET", DISCOVERY)[1]
    services = cluster.request("GET", "/arvados/v1/keep_services/accessible")[1]["items"]
    urls = (document["rootUrl"], document["websocketUrl"])
    return [urlsplit(url).port for url in urls] + [one["service_port"] for one in services]


def check_all_parts(cluster):
    """Use API, Keep and event stream as clients do; the certificate has to be right."""
    keep = KeepClient(cluster)
    assert keep.get(keep.put(b"foo"))[2] == b"foo"
    context = ssl.create_default_context(cafile=cluster.dir / "tls.pem")
    document = cluster.request("GET", DISCOVERY)[1]
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Authorization": f"Bearer {cluster.env['ARVADOS_API_TOKEN']}",
    }
    for url, headers, status in (
        (f"{document['rootUrl']}{DISCOVERY[1:]}", {}, 200),
        (document["websocketUrl"], upgrade, 101),
    ):
        parts = urlsplit(url)
        connection = http.client.HTTPSConnection(parts.netloc, context=context, timeout=10)
        connection.request("GET", parts.path, headers=headers)
        assert connection.getresponse().status == status
        connection.close()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "cluster"


def test_everything_is_on_the_address_and_nowhere_else(directory):
    with RunningCluster(directory, "--listen", "127.0.0.2") as cluster:
        assert hosts_of(cluster) == {"127.0.0.2"}
        check_all_parts(cluster)
        for port in ports_of(cluster):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
        assert cluster.log == ""


def test_without_the_option_it_is_where_it_always_was(directory):
    with RunningCluster(directory, "--listen", "127.0.0.2"):
        pass
    with RunningCluster(directory) as cluster:
        assert hosts_of(cluster) == {"127.0.0.1"}
        check_all_parts(cluster)


def test_all_addresses_under_a_name(directory):
    options = ("--listen", "0.0.0.0", "--name", "localhost", "--keep-services", "2")
    with RunningCluster(directory, *options) as cluster:
        assert hosts_of(cluster) == {"localhost"}
        check_all_parts(cluster)
        for port in ports_of(cluster):
            socket.create_connection(("127.0.0.2", port), timeout=5).close()
        assert cluster.log.count("WARNING") == 1
        assert "Other machines can reach this cluster" in cluster.log


def test_address_of_another_machine(directory):
    with pytest.raises(AssertionError, match=r"cannot listen on 192\.0\.2\.1"):
        RunningCluster(directory, "--listen", "192.0.2.1").start()
