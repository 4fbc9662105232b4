"""Whatever clients send to a method of the API: it is answered, and never with a status of 500."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arvados_fuse.standalone.api.routes import METHODS
from arvados_fuse.standalone.records.tables import RESOURCES
from tests.support.local_cluster import LocalCluster

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
ATTRIBUTES = sorted({name for resource in RESOURCES for name in resource.by_name})
WORDS = [
    "",
    "null",
    "1",
    "-1",
    "true",
    "a/b",
    "\0",
    "\ud800",
    "9" * 5000,
    "2030-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "[]",
    "{}",
    "[[",
    "like",
    "in",
    "=",
    "exists",
    "name desc",
    "properties.a",
    "current/foo",
    "project",
    "role",
    "filter",
    "permission",
    "can_manage",
    f". {FOO} 0:3:foo\n",
    f". {FOO} 0:999999999999999999:foo\n",
    f"{FOO} 0 3",
    *ATTRIBUTES,
]
SCALARS = st.one_of(
    st.sampled_from(WORDS),
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400, 0.5, float("inf"), float("nan")]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(WORDS[:30]) | st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)
FILTERS = st.lists(
    st.tuples(
        st.sampled_from([*ATTRIBUTES, "any", "properties.a"]),
        st.sampled_from(["=", "!=", "<", ">=", "like", "ilike", "in", "not in", "is_a", "exists",
                         "contains"]),
        VALUES,
    ).map(list),
    max_size=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def existing(cluster):
    """Ids of records of every kind that clients can name."""
    collection = cluster.create(name="x", manifest_text=f". {FOO} 0:3:foo\n", properties={"a": 1})
    project = cluster.project("p")
    return [
        collection["uuid"],
        collection["portable_data_hash"],
        project["uuid"],
        cluster.identity.administrator_uuid,
        cluster.core.system_user_uuid,
    ]


@st.composite
def requests(draw, method, ids):
    """A request for `method`: http method, path, query and body."""
    known = st.sampled_from([*ids, "nonsense", "%00", "\u00e9"])
    path = method.path
    for name in method.parameters:
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", quote(draw(known)))
    parameters = {}
    for name in draw(st.lists(st.sampled_from(sorted(method.parameters) or ["x"]), max_size=3)):
        value = FILTERS if name == "filters" else st.one_of(VALUES, known)
        parameters[name] = draw(value)
    names = sorted(method.takes.by_name) if method.takes else ATTRIBUTES
    record = draw(st.dictionaries(st.sampled_from(names), st.one_of(VALUES, known), max_size=4))
    if draw(st.booleans()):
        body = {**record, **parameters}
        return path, "", json.dumps(body).encode()
    body = {method.takes.singular: record} if method.takes else record
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in parameters.items()}
    return path, urlencode(texts, errors="surrogatepass"), json.dumps(body).encode()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.id)
def test_every_request_is_answered(cluster, existing, method):
    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(method, existing))
    def send(request):
        path, query, body = request
        reply = cluster.send(method.http_method, path, query, body)
        assert reply.status < 500, (method.id, request, reply.body)
        json.loads(reply.body)

    send()
