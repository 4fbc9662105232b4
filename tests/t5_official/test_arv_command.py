"""The requests that the ``arv`` command sends.

Its subcommands are the methods of the API; attributes and options go as JSON text in forms and
query strings. (Arvados documentation, "arv reference"; "REST API syntax".) Each test has the
command line that it stands for.
"""

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest


@pytest.fixture
def arv(running_cluster):
    """Send a request as arv does: options in the query, attributes in a form."""

    def send(method, path, form=None, scheme="OAuth2", **options):
        texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options.items()}
        query = f"?{urllib.parse.urlencode(texts)}" if texts else ""
        request = urllib.request.Request(
            f"https://{running_cluster.env['ARVADOS_API_HOST']}/arvados/v1/{path}{query}",
            method=method,
            data=None if form is None else urllib.parse.urlencode(form).encode(),
            headers={"Authorization": f"{scheme} {running_cluster.env['ARVADOS_API_TOKEN']}"},
        )
        try:
            with urllib.request.urlopen(request, context=running_cluster.insecure) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return send


@pytest.fixture
def made(arv):
    """arv collection create --collection '{"name": ...}' --ensure-unique-name"""
    attributes = {"name": "by arv", "properties": {"colour": "red & blue", "plus": "1+1"}}
    return arv("POST", "collections", {"collection": json.dumps(attributes)}, ensure_unique_name=1)


@pytest.mark.parametrize("scheme", ["OAuth2", "Bearer"])
def test_user_current(arv, scheme):
    """arv user current"""
    assert arv("GET", "users/current", scheme=scheme)["kind"] == "arvados#user"


def test_create(made):
    """Attributes that are the JSON text of an object arrive as an object."""
    assert made["kind"] == "arvados#collection"
    assert made["properties"] == {"colour": "red & blue", "plus": "1+1"}


def test_create_with_attributes_in_the_query(arv):
    """arv link create --link '{"link_class": "tag", "name": "t"}'"""
    link = arv("POST", "links", link={"link_class": "tag", "name": "t"})
    assert (link["link_class"], link["name"]) == ("tag", "t")


def test_get(arv, made):
    """arv collection get --uuid UUID"""
    assert arv("GET", f"collections/{made['uuid']}")["name"] == made["name"]


@pytest.mark.parametrize("select", ['["uuid","name"]', "uuid,name"])
def test_get_with_fields(arv, made, select):
    """arv collection get --uuid UUID --select '["uuid","name"]'"""
    found = arv("GET", f"collections/{made['uuid']}", select=select)
    assert {"uuid", "name"} <= found.keys()
    assert "properties" not in found


def test_list(arv, made):
    """arv collection list --filters '[["uuid","=",UUID]]' --limit 1 --offset 0 --count none"""
    filters = [["uuid", "=", made["uuid"]]]
    found = arv(
        *("GET", "collections"), filters=filters, limit=1, offset=0, count="none", distinct=False
    )
    assert [item["uuid"] for item in found["items"]] == [made["uuid"]]
    assert "items_available" not in found


def test_list_in_order(arv, made):
    """arv collection list --order 'created_at desc' --select '["uuid"]' --limit 1"""
    for order in ("created_at desc", '["created_at desc"]'):
        found = arv("GET", "collections", order=order, select=["uuid", "created_at"], limit=1)
        assert [item["uuid"] for item in found["items"]] == [made["uuid"]]


@pytest.mark.parametrize("in_header", [False, True])
def test_long_query_goes_in_the_body_of_a_post(running_cluster, arv, made, in_header):
    """arv collection list --filters, with more uuids than a URL can have"""
    uuids = [made["uuid"], *(f"zzzzz-4zz18-{number:015d}" for number in range(500))]
    form = {"filters": json.dumps([["uuid", "in", uuids]])}
    if not in_header:
        assert len(arv("POST", "collections", {**form, "_method": "GET"})["items"]) == 1
        return
    request = urllib.request.Request(
        f"https://{running_cluster.env['ARVADOS_API_HOST']}/arvados/v1/collections",
        data=urllib.parse.urlencode(form).encode(),
        headers={
            "Authorization": f"Bearer {running_cluster.env['ARVADOS_API_TOKEN']}",
            "X-Http-Method-Override": "GET",
        },
    )
    with urllib.request.urlopen(request, context=running_cluster.insecure) as answer:
        assert len(json.load(answer)["items"]) == 1


def test_update(arv, made):
    """arv collection update --uuid UUID --collection '{"description": "new"}'"""
    form = {"collection": json.dumps({"description": "new"})}
    assert arv("PUT", f"collections/{made['uuid']}", form)["description"] == "new"


def test_update_by_a_post_that_says_so(arv, made):
    """The same, from a client that can send GET and POST only."""
    form = {"_method": "PUT", "collection": json.dumps({"description": "newer"})}
    assert arv("POST", f"collections/{made['uuid']}", form)["description"] == "newer"


def test_delete_and_untrash(arv, made):
    """arv collection delete --uuid UUID; arv collection untrash --uuid UUID"""
    path = f"collections/{made['uuid']}"
    assert arv("DELETE", path)["is_trashed"] is True
    assert arv("GET", path)[0] == 404
    assert arv("GET", path, include_trash="true")["uuid"] == made["uuid"]
    assert arv("POST", f"{path}/untrash", {})["is_trashed"] is False


def test_contents(arv, made):
    """arv group contents --uuid UUID --filters '[["uuid","is_a","arvados#collection"]]'"""
    filters = [["uuid", "is_a", "arvados#collection"], ["uuid", "=", made["uuid"]]]
    found = arv("GET", f"groups/{made['owner_uuid']}/contents", filters=filters)
    assert [item["kind"] for item in found["items"]] == ["arvados#collection"]


def test_token_for_a_user(arv):
    """arv api_client_authorization create --api-client-authorization '{"scopes": [...]}'"""
    scopes = ["GET /arvados/v1/users/current"]
    token = arv("POST", "api_client_authorizations", api_client_authorization={"scopes": scopes})
    assert token["scopes"] == scopes
    assert token["created_by_ip_address"] == "127.0.0.1"


def test_errors_are_lists_of_sentences(arv):
    """arv prints what is in `errors`, and exits with 1."""
    status, answer = arv("GET", "collections/zzzzz-4zz18-000000000000000")
    assert status == 404
    assert "Path not found" in answer["errors"][0]
    assert answer["error_token"] in answer["errors"][0]
