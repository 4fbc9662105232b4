"""The discovery document has all that the reference of the SDK lists, but for what is named here.

The reference is ``arvados.api_resources``, which is made from the discovery document of a real
cluster of the same version.
"""

import inspect

import arvados.api_resources
import pytest

ABSENT_RESOURCES = {
    "authorized_keys": "there is nothing to log in to with a key",
    "computed_permissions": "no tool asks for them",
    "container_requests": "no containers run here",
    "containers": "no containers run here",
    "credentials": "they are for containers",
    "sys": "the trash is emptied without being asked",
    "user_agreements": "there are none",
    "virtual_machines": "there are none",
}
ABSENT_METHODS = {
    "api_client_authorizations.create_system_auth": "the system user has a token",
    "collections.provenance": "it is about containers",
    "collections.used_by": "it is about containers",
    "keep_services.create": "a cluster knows its services from its configuration",
    "keep_services.delete": "a cluster knows its services from its configuration",
    "keep_services.update": "a cluster knows its services from its configuration",
    "users.merge": "no tool merges users",
}

CLASSES = dict(inspect.getmembers(arvados.api_resources, inspect.isclass))
RESOURCES = {
    name: CLASSES[name.title().replace("_", "")]
    for name in vars(CLASSES["ArvadosAPIClient"])
    if name.title().replace("_", "") in CLASSES
}
METHODS = {
    f"{resource}.{name}": {p.rstrip("_") for p in inspect.signature(method).parameters} - {"self"}
    for resource, methods in RESOURCES.items()
    for name, method in inspect.getmembers(methods, inspect.isfunction)
    if resource not in ABSENT_RESOURCES
}
RECORDS = {
    name: set(c.__annotations__)
    for name, c in CLASSES.items()
    if "uuid" in getattr(c, "__annotations__", ())
}


@pytest.fixture(scope="module")
def document(running_cluster):
    return running_cluster.request("GET", "/discovery/v1/apis/arvados/v1/rest")[1]


def test_the_reference_has_been_read():
    """The tests below would pass on an empty one."""
    assert {"collections.get", "groups.contents", "links.create"} <= METHODS.keys()
    assert {"uuid", "limit"} & METHODS["collections.list"] == {"limit"}
    assert {"Collection", "Group", "User"} <= RECORDS.keys()


def test_resources(document):
    assert RESOURCES.keys() - document["resources"].keys() == ABSENT_RESOURCES.keys()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_methods_and_their_parameters(document, method):
    resource, name = method.split(".")
    found = document["resources"][resource]["methods"].get(name)
    assert (found is None) == (method in ABSENT_METHODS)
    if found is not None:
        known = found["parameters"].keys() | ({"body"} if "request" in found else set())
        assert METHODS[method] <= known


def test_attributes_of_records(document):
    known = {name: schema["properties"].keys() for name, schema in document["schemas"].items()}
    shown = {name: fields for name, fields in RECORDS.items() if name in known}
    assert {"Collection", "Group", "User", "Link", "Log", "Workflow"} <= shown.keys()
    for name, fields in shown.items():
        assert fields <= known[name], name
