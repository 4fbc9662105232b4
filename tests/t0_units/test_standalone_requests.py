"""How requests are understood: paths, parameters, tokens, errors, the discovery document."""

import base64
import json

import pytest

from arvados_fuse.standalone.api.routes import METHODS
from tests.support.local_cluster import LocalCluster

DISCOVERY = "/discovery/v1/apis/arvados/v1/rest"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        cluster.create(name="x")
        yield cluster


@pytest.fixture
def document(cluster):
    """The discovery document, as anybody gets it."""
    reply = cluster.send("GET", DISCOVERY, headers={"Authorization": ""})
    assert reply.status == 200
    return json.loads(reply.body)


def errors(reply):
    return json.loads(reply.body)["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nonsense", 404),
        ("GET", "/nonsense", 404),
        ("GET", "/", 404),
        ("DELETE", "config", 405),
        ("PUT", "collections", 405),
        ("NONSENSE", "collections", 405),
        ("GET", "collections/", 200),
        ("HEAD", "collections", 200),
        ("OPTIONS", "collections", 200),
    ],
)
def test_status(cluster, method, path, status):
    reply = cluster.send(method, path)
    assert reply.status == status
    assert reply.headers["Access-Control-Allow-Origin"] == "*"


def test_request_id_comes_back_and_is_in_errors(cluster):
    reply = cluster.send("GET", "nonsense", headers={"X-Request-Id": "req-mine"})
    assert reply.headers["X-Request-Id"] == "req-mine"
    assert errors(reply)[0].endswith("(req-mine)")
    reply = cluster.send("GET", "nonsense", headers={"X-Request-Id": "bad\r\nid"})
    assert reply.headers["X-Request-Id"].startswith("req-")


def test_post_can_be_another_method(cluster):
    """The SDK sends long GET requests so."""
    query = b"filters=%5B%5B%22name%22%2C%22%3D%22%2C%22x%22%5D%5D&count=none"
    reply = cluster.send(
        "POST", "collections", body=query, headers={**FORM, "X-Http-Method-Override": "GET"}
    )
    assert [item["name"] for item in json.loads(reply.body)["items"]] == ["x"]
    reply = cluster.send("POST", "collections", body=query + b"&_method=GET", headers=FORM)
    assert len(json.loads(reply.body)["items"]) == 1


def test_json_body_may_hold_parameters(cluster):
    body = json.dumps({"limit": 0, "filters": '[["name","=","x"]]', "select": "name"}).encode()
    reply = cluster.send(
        "POST", "collections", body=body, headers={"X-Http-Method-Override": "GET"}
    )
    page = json.loads(reply.body)
    assert (page["items"], page["limit"], page["items_available"]) == ([], 0, 1)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("include_trash=", False),
        ("include_trash=null", False),
        ("include_trash=false", False),
        ("include_trash=0", False),
        ("include_trash=1", True),
        ("include_trash=true", True),
        ("include_trash=yes", True),
    ],
)
def test_booleans(tmp_path, query, expected):
    with LocalCluster(tmp_path) as cluster:
        cluster.call("DELETE", f"collections/{cluster.create(name='x')['uuid']}")
        page = json.loads(cluster.send("GET", "collections", query).body)
    assert bool(page["items"]) is expected


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b"\xff", FORM, 400),
        (b"x", {"Content-Type": "text/plain"}, 400),
        (b'{"collection": []}', {}, 422),
        (b'{"collection": "{"}', {}, 422),
        (b"collection=%7B", FORM, 422),
    ],
)
def test_bodies_that_make_no_sense(cluster, body, headers, status):
    assert cluster.send("POST", "collections", body=body, headers=headers).status == status


def test_parameters_that_make_no_sense(cluster):
    assert cluster.send("GET", "collections", "filters=%5B").status == 422
    assert cluster.send("GET", "collections", "limit=x").status == 422
    assert cluster.send("GET", "collections", "select=%5B1%5D").status == 422
    assert cluster.send("POST", "collections", "select=%5B1%5D").status == 422
    assert cluster.send("GET", "collections", "nonsense=1&alt=json").status == 200


def test_defects_of_ours_are_500_without_details(cluster, caplog, monkeypatch):
    monkeypatch.setattr(cluster.service, "identify", lambda token: 1 / 0)
    reply = cluster.send("GET", "collections")
    assert reply.status == 500
    assert "division" not in errors(reply)[0]
    assert "ZeroDivisionError" in caplog.text
    assert cluster.token not in caplog.text


class TestTokens:
    """Who a request comes from."""

    def status(self, cluster, authorization, path="users/current", query=""):
        headers = {"Authorization": authorization} if authorization else {"Authorization": ""}
        return cluster.send("GET", path, query, headers=headers).status

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "OAuth2"])
    def test_schemes(self, cluster, scheme):
        assert self.status(cluster, f"{scheme} {cluster.token}") == 200

    def test_other_ways(self, cluster):
        basic = base64.b64encode(f"any:{cluster.token}".encode()).decode()
        assert self.status(cluster, f"Basic {basic}") == 200
        assert self.status(cluster, "", query=f"api_token={cluster.token}") == 200

    def test_v1_form_is_the_bare_secret(self, cluster):
        assert self.status(cluster, f"Bearer {cluster.token.rpartition('/')[2]}") == 200

    @pytest.mark.parametrize(
        "change",
        [
            lambda token: "",
            lambda token: token[:-1],
            lambda token: token + "x",
            lambda token: token + "/zzzzz-dz642-012345678901234",
            lambda token: token.replace("v2/", "v3/"),
            lambda token: token.rpartition("/")[0] + "/",
            lambda token: "v2//",
            lambda token: "\u00e4",
        ],
    )
    def test_other_tokens_are_401(self, cluster, change):
        assert self.status(cluster, f"Bearer {change(cluster.token)}") == 401

    @pytest.mark.parametrize("authorization", ["", "Bearer", "Basic !", "Nonsense x"])
    def test_no_token_is_401(self, cluster, authorization):
        assert self.status(cluster, authorization) == 401

    @pytest.mark.parametrize("path", ["config", "vocabulary", "keep_services/accessible"])
    def test_some_methods_need_none(self, cluster, path):
        assert self.status(cluster, "", path) == 200

    def test_tokens_expire(self, cluster):
        old = cluster.add_user(expires_at="2020-01-01T00:00:00.000000000Z")
        new = cluster.add_user(expires_at="2100-01-01T00:00:00.000000000Z")
        assert self.status(cluster, f"Bearer {old}") == 401
        assert self.status(cluster, f"Bearer {new}") == 200

    def test_scopes(self, cluster):
        token = cluster.add_user(("GET /arvados/v1/collections", "GET /arvados/v1/groups/"))
        headers = {"Authorization": f"Bearer {token}"}
        for method, path, expected in (
            ("GET", "collections", 200),
            ("HEAD", "collections", 200),
            ("POST", "collections", 403),
            ("GET", "collections/zzzzz-4zz18-012345678901234", 403),
            ("GET", "groups/shared", 200),
            ("GET", "groups", 403),
            ("GET", "users/current", 403),
            ("GET", "api_client_authorizations/current", 200),
        ):
            assert cluster.send(method, path, headers=headers).status == expected, path

    def test_current_token(self, cluster):
        record = cluster.call("GET", "api_client_authorizations/current")
        assert f"v2/{record['uuid']}/{record['api_token']}" == cluster.token
        assert record["scopes"] == ["all"]


class TestUsers:
    """The first user."""

    def test_is_an_administrator_who_can_write(self, cluster):
        user = cluster.call("GET", "users/current")
        assert user["uuid"] == cluster.identity.administrator_uuid
        assert (user["is_admin"], user["is_active"], user["can_write"]) == (True, True, True)
        assert user["email"]
        assert user["full_name"] == f"{user['first_name']} {user['last_name']}"
        assert cluster.call("GET", f"users/{user['uuid']}") == user

    def test_system_user(self, cluster):
        assert cluster.call("GET", "users/system")["uuid"] == cluster.core.system_user_uuid


def test_links_are_listed(cluster):
    page = cluster.call(
        "GET",
        "links",
        filters=[["link_class", "=", "tag"], ["head_uuid", "is_a", "arvados#collection"]],
        select=["head_uuid"],
        distinct=True,
    )
    assert (page["items"], page["items_available"]) == ([], 0)
    assert page["kind"] == "arvados#linkList"


def test_keep_services(cluster):
    (service,) = cluster.call("GET", "keep_services/accessible")["items"]
    assert (service["service_host"], service["service_port"]) == ("127.0.0.1", 9)
    assert (service["service_ssl_flag"], service["service_type"]) == (False, "disk")
    assert service["read_only"] is False
    assert cluster.call("GET", f"keep_services/{service['uuid']}") == service
    assert cluster.call("GET", "keep_services")["items"] == [service]
    outside = cluster.send("GET", "keep_services/accessible", headers={"X-External-Client": "1"})
    assert json.loads(outside.body)["items"] == []


def test_configuration_has_what_clients_read(cluster):
    configuration = cluster.call("GET", "config")
    assert configuration["ClusterID"] == cluster.core.cluster_id
    assert configuration["StorageClasses"]["default"]["Default"] is True
    assert configuration["Collections"]["BlobSigningTTL"] == "336h"
    assert configuration["Collections"]["ForwardSlashNameSubstitution"] == ""
    assert cluster.identity.signing_key.decode() not in json.dumps(configuration)


class TestDiscovery:
    """The discovery document."""

    def test_is_asked_for_again_but_not_sent_again(self, cluster):
        first = cluster.send("GET", DISCOVERY)
        assert first.headers["Cache-Control"] == "no-cache"
        again = cluster.send("GET", DISCOVERY, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")

    def test_tells_about_the_cluster(self, cluster, document):
        assert document["rootUrl"] == "https://127.0.0.1:12345/"
        assert document["servicePath"] == "arvados/v1/"
        assert document["uuidPrefix"] == cluster.core.cluster_id
        assert document["defaultCollectionReplication"] == 1
        assert document["blobSignatureTtl"] == 1209600
        assert document["maxRequestSize"] == 134217728

    def test_has_every_method(self, document):
        listed = {
            (name, action): method
            for name, resource in document["resources"].items()
            for action, method in resource["methods"].items()
        }
        assert len(listed) == len(METHODS)
        for method in METHODS:
            entry = listed[tuple(method.id.split("."))]
            assert (entry["httpMethod"], entry["path"]) == (method.http_method, method.path)
            assert set(entry["parameters"]) == set(method.parameters)
            for name, parameter in entry["parameters"].items():
                in_path = f"{{{name}}}" in entry["path"]
                assert parameter["location"] == ("path" if in_path else "query")

    def test_every_reference_leads_somewhere(self, document):
        def references(value):
            if isinstance(value, dict):
                yield from (v for k, v in value.items() if k == "$ref")
                value = list(value.values())
            if isinstance(value, list):
                for item in value:
                    yield from references(item)

        assert set(references(document)) <= set(document["schemas"])

    def test_schemas_name_every_attribute_that_records_have(self, cluster, document):
        record = cluster.call("GET", "collections")["items"][0]
        assert set(record) <= set(document["schemas"]["Collection"]["properties"])
        assert document["schemas"]["Collection"]["uuidPrefix"] == "4zz18"
