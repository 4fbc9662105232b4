"""Requests to the REST API: what is asked, and what every way to fail becomes."""

from __future__ import annotations

import socket
import threading

import arvados.api
import pytest

from arvados_fuse.api import ArvadosCluster, Desired, Item, connection
from arvados_fuse.errors import (
    AccessRefused,
    ClusterError,
    ClusterUnreachable,
    FileSystemError,
    Forbidden,
    NoSuchEntry,
    RecordError,
    TimedOut,
)
from arvados_fuse.metrics import Metrics
from tests.support.api_server import Answer, ApiServer, Request

SECRET = "0123456789secret0123456789"
TOKEN = f"v2/zzzzz-gj3su-000000000000000/{SECRET}"
OWNER = "zzzzz-j7d0g-000000000000000"
COLLECTION = {
    "uuid": "zzzzz-4zz18-000000000000001",
    "name": "run 42",
    "modified_at": "2023-11-14T22:13:20.123456000Z",
    "portable_data_hash": "d41d8cd98f00b204e9800998ecf8427e+0",
    "manifest_text": ". d41d8cd98f00b204e9800998ecf8427e+0 0:0:a\n",
}
GROUP = {
    "uuid": "zzzzz-j7d0g-000000000000001",
    "name": "cohort",
    "modified_at": "2023-11-14T22:13:20Z",
    "group_class": "project",
}
COLLECTION_ITEM = Item(
    COLLECTION["uuid"],
    "run 42",
    1_700_000_000_123_456_000,
    "d41d8cd98f00b204e9800998ecf8427e+0",
    is_project=False,
)
GROUP_ITEM = Item(GROUP["uuid"], "cohort", 1_700_000_000_000_000_000, "", is_project=True)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    """The client library keeps discovery documents in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path) as server:
        yield server


def connect(host: str, **options) -> ArvadosCluster:
    options = {"insecure": True, "retries": 0, "metrics": Metrics(), **options}
    return ArvadosCluster(host, TOKEN, **options)


@pytest.fixture
def cluster(server):
    cluster = connect(server.host)
    server.requests.clear()
    return cluster


@pytest.fixture
def made(monkeypatch):
    """The client objects of the library that are made from now on."""
    made, make = [], arvados.api.api_client

    def noted(*arguments, **options):
        made.append(arguments)
        return make(*arguments, **options)

    monkeypatch.setattr(arvados.api, "api_client", noted)
    return made


def failure(request) -> FileSystemError:
    """Send a request that must fail, and return the error, which holds no secret."""
    with pytest.raises(FileSystemError) as caught:
        request()
    text = str(caught.value)
    assert SECRET not in text
    assert len(text) < 500, "one sentence, not a page"
    assert "\n" not in text
    return caught.value


class TestConnecting:
    def test_learns_what_the_cluster_says_about_itself(self, server):
        metrics = Metrics()
        cluster = connect(server.host, metrics=metrics)
        assert cluster.signature_ttl_s == 1000
        assert cluster.slash_substitution == "%"
        assert {request.token for request in server.requests} == {TOKEN}
        assert metrics.api_calls == 1

    @pytest.mark.parametrize(
        ("config", "substitution"),
        [
            ({"Collections": {"ForwardSlashNameSubstitution": ""}}, None),
            ({"Collections": {"ForwardSlashNameSubstitution": None}}, None),
            ({"Collections": {}}, "_"),
            ({"Collections": None}, "_"),
            ({}, "_"),
        ],
    )
    def test_slash_substitution_without_a_setting(self, server, config, substitution):
        server.answers["config"] = Answer(config)
        assert connect(server.host).slash_substitution == substitution

    def test_signature_lifetime_that_is_no_number(self, server):
        server.answers["discovery"].body["blobSignatureTtl"] = "soon"
        assert "blobSignatureTtl" in str(failure(lambda: connect(server.host)))

    def test_signature_lifetime_that_is_missing_is_the_usual_one(self, server):
        del server.answers["discovery"].body["blobSignatureTtl"]
        assert connect(server.host).signature_ttl_s == 14 * 24 * 3600

    def test_refused_connection(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        error = failure(lambda: connect(f"127.0.0.1:{port}"))
        assert isinstance(error, ClusterUnreachable)
        assert str(error) == (
            f"Cannot reach the Arvados API host 127.0.0.1:{port}: Connection refused."
        )

    @pytest.mark.parametrize(
        "host",
        [
            *("127.0.0.1:http", "127.0.0.1:99999", "", ":443", "[::1", "x:-1", "x:"),
            *("https://127.0.0.1", "https://127.0.0.1:443/", "127.0.0.1/", "me@127.0.0.1", "a b"),
        ],
    )
    def test_what_is_no_host(self, host):
        error = failure(lambda: connect(host))
        assert isinstance(error, ClusterUnreachable)
        assert "ARVADOS_API_HOST" in str(error)
        assert "HOST:PORT" in str(error)

    def test_certificate_that_nobody_vouches_for(self, server, monkeypatch):
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        error = failure(lambda: connect(server.host, insecure=False))
        assert isinstance(error, ClusterUnreachable)
        assert server.host in str(error)
        assert "SSL_CERT_FILE" in str(error)
        assert "ARVADOS_API_HOST_INSECURE" in str(error)

    def test_certificate_that_the_user_vouches_for(self, server, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        assert connect(server.host, insecure=False).signature_ttl_s == 1000

    @pytest.mark.parametrize(
        "answer",
        [
            Answer("<html><body>Welcome!</body></html>", content_type="text/html"),
            Answer("<html>no such page</html>", 404, content_type="text/html"),
            Answer({"errors": ["no such page"]}, 404),
            Answer("{}"),
            Answer("[]"),
            Answer(""),
        ],
    )
    def test_host_that_is_no_api_server(self, server, answer):
        server.answers["discovery"] = answer
        error = failure(lambda: connect(server.host))
        assert isinstance(error, ClusterError)
        assert str(error).startswith(
            f"The answer of {server.host} is not that of an Arvados API server"
        )

    def test_host_that_speaks_no_tls_is_found_out_at_the_first_contact(self):
        with socket.create_server(("127.0.0.1", 0)) as plain:
            port = plain.getsockname()[1]

            def answer():
                connection, _ = plain.accept()
                with connection:
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

            answering = threading.Thread(target=answer)
            answering.start()
            error = failure(lambda: connect(f"127.0.0.1:{port}"))
            answering.join()
        assert isinstance(error, ClusterUnreachable)
        assert "SSL" in str(error)

    def test_refused_token(self, server):
        server.answers["config"] = Answer({"errors": ["Unauthorized"]}, 401)
        error = failure(lambda: connect(server.host))
        assert isinstance(error, AccessRefused)
        assert "ARVADOS_API_TOKEN" in str(error)


class TestRequests:
    def test_user(self, cluster, server):
        server.answers["users/current"] = Answer({"uuid": "zzzzz-tpzed-000000000000000"})
        assert cluster.user_uuid() == "zzzzz-tpzed-000000000000000"

    def test_project(self, cluster, server):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP)
        assert cluster.project(GROUP["uuid"]) == GROUP_ITEM

    def test_filter_group(self, cluster, server):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP | {"group_class": "filter"})
        assert cluster.project(GROUP["uuid"]) == GROUP_ITEM._replace(is_filter=True)

    def test_a_role_is_no_project(self, cluster, server):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP | {"group_class": "role"})
        assert isinstance(failure(lambda: cluster.project(GROUP["uuid"])), NoSuchEntry)

    @pytest.mark.parametrize(
        ("uuid", "path"),
        [
            (COLLECTION["uuid"], "collections"),
            (GROUP["uuid"], "groups"),
            ("zzzzz-tpzed-000000000000001", "users"),
        ],
    )
    def test_whole_record_of_anything(self, cluster, server, uuid, path):
        server.answers[f"{path}/{uuid}"] = Answer({"uuid": uuid, "anything": [1]})
        assert cluster.record(uuid) == {"uuid": uuid, "anything": [1]}
        assert "select" not in server.requests[0].parameters

    def test_collection_comes_with_its_manifest(self, cluster, server):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION)
        found = cluster.collection(COLLECTION["uuid"])
        assert found.item == COLLECTION_ITEM
        assert found.manifest_text == COLLECTION["manifest_text"]

    def test_state_of_a_collection_comes_without(self, cluster, server):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION)
        assert cluster.collection_state(COLLECTION["uuid"]) == COLLECTION_ITEM
        (request,) = server.requests
        assert set(request.parameters["select"]) == {
            "uuid",
            "name",
            "modified_at",
            "portable_data_hash",
            "replication_desired",
            "storage_classes_desired",
        }

    def test_state_of_a_collection_in_the_trash(self, cluster, server):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION)
        assert cluster.collection_in_trash(COLLECTION["uuid"]) == COLLECTION_ITEM
        (request,) = server.requests
        assert request.parameters["include_trash"] is True
        assert "manifest_text" not in request.parameters["select"]

    @pytest.mark.parametrize(
        ("fields", "desired"),
        [
            ({}, None),
            (
                {"replication_desired": None, "storage_classes_desired": ["default"]},
                Desired(None, ("default",)),
            ),
            ({"replication_desired": 3}, Desired(3, ())),
            ({"replication_desired": 0, "storage_classes_desired": []}, Desired(None, ())),
        ],
    )
    def test_state_tells_what_the_collection_wants(self, cluster, server, fields, desired):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION | fields)
        assert cluster.collection_state(COLLECTION["uuid"]).desired == desired

    @pytest.mark.parametrize(
        "fields",
        [
            {"replication_desired": "3"},
            {"replication_desired": -1},
            {"storage_classes_desired": "default"},
            {"storage_classes_desired": [1]},
            {"storage_classes_desired": ["a, b"]},
            {"storage_classes_desired": ["a\r\nX-Header: b"]},
            {"storage_classes_desired": [""]},
        ],
    )
    def test_wishes_that_make_no_sense_are_an_error(self, cluster, server, fields):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION | fields)
        with pytest.raises(RecordError, match="_desired"):
            cluster.collection_state(COLLECTION["uuid"])

    def test_collection_by_its_hash(self, cluster, server):
        pdh = COLLECTION["portable_data_hash"]
        record = {"portable_data_hash": pdh, "manifest_text": "", "uuid": pdh, "name": None}
        server.answers[f"collections/{pdh}"] = Answer(record | {"modified_at": None})
        server.answers[f"collections/{pdh.replace('+', '%2B')}"] = server.answers[
            f"collections/{pdh}"
        ]
        assert cluster.collection(pdh).item == Item(pdh, "", 0, pdh, is_project=False)

    def test_keep_services(self, cluster, server):
        services = [{"service_host": "keep0"}]
        server.answers["keep_services/accessible"] = Answer({"items": services})
        assert cluster.keep_services() == services

    def test_each_request_is_counted(self, server):
        metrics = Metrics()
        cluster = connect(server.host, metrics=metrics)
        server.answers["users/current"] = Answer({"uuid": "zzzzz-tpzed-000000000000000"})
        before = metrics.api_calls
        for _ in range(3):
            cluster.user_uuid()
        assert metrics.api_calls == before + 3

    def test_many_threads_may_ask_at_once(self, cluster, server):
        together = threading.Barrier(5)

        def answer(request: Request) -> Answer:
            together.wait(10)
            return Answer({"uuid": "zzzzz-tpzed-000000000000000"})

        server.answers["users/current"] = answer
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(cluster.user_uuid())) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 5


SUBPROJECTS = [GROUP | {"uuid": f"zzzzz-j7d0g-{n:015}", "name": f"p{n}"} for n in range(5)]
COLLECTIONS = [COLLECTION | {"uuid": f"zzzzz-4zz18-{n:015}", "name": f"c{n}"} for n in range(7)]


class TestContents:
    def answer(self, request: Request) -> Answer:
        """As the real server: filters, order by uuid, a limit."""
        filters = {(f[0], f[1]): f[2] for f in request.parameters["filters"]}
        is_group = filters["uuid", "is_a"] == "arvados#group"
        records = SUBPROJECTS if is_group else COLLECTIONS
        after = [r for r in records if r["uuid"] > filters["uuid", ">"]]
        return Answer({"items": after[: request.parameters["limit"]]})

    @pytest.mark.parametrize("page", [1, 2, 5, 1000])
    def test_all_pages_are_read_projects_first(self, cluster, server, monkeypatch, page):
        monkeypatch.setattr(connection, "PAGE_SIZE", page)
        server.answers["groups/contents"] = self.answer
        names = [item.name for item in cluster.contents(OWNER)]
        assert names == [*(f"p{n}" for n in range(5)), *(f"c{n}" for n in range(7))]

    def test_a_server_that_sends_less_than_asked_for_is_asked_on(self, cluster, server):
        server.answers["groups/contents"] = lambda request: Answer(
            {"items": self.answer(request).body["items"][:2]}
        )
        assert len(list(cluster.contents(OWNER))) == 12

    def test_only_projects_and_filters_and_collections_of_the_owner_are_asked_for(
        self, cluster, server
    ):
        server.answers["groups/contents"] = self.answer
        assert all(item.is_project == ("j7d0g" in item.uuid) for item in cluster.contents(OWNER))
        assert {request.parameters["uuid"] for request in server.requests} == {OWNER}
        filters = [request.parameters["filters"] for request in server.requests]
        assert ["groups.group_class", "in", ["project", "filter"]] in filters[0]
        assert ["uuid", "is_a", "arvados#collection"] in filters[-1]

    def test_a_server_that_does_not_page_is_found_out(self, cluster, server):
        """Or the listing would go on for ever."""
        server.answers["groups/contents"] = Answer({"items": [GROUP]})
        error = failure(lambda: list(cluster.contents(OWNER)))
        assert isinstance(error, RecordError)
        assert "out of order" in str(error)


class TestFind:
    @pytest.mark.parametrize("projects", [True, False])
    def test_asks_for_the_owner_and_the_name_alone(self, cluster, server, projects):
        server.answers["groups"] = server.answers["collections"] = Answer({"items": []})
        assert cluster.find(OWNER, ["name", "like", "a%b"], projects=projects) == []
        (request,) = server.requests
        assert request.path == ("groups" if projects else "collections")
        assert ["owner_uuid", "=", OWNER] in request.parameters["filters"]
        assert ["name", "like", "a%b"] in request.parameters["filters"]
        is_project = ["group_class", "in", ["project", "filter"]]
        assert (is_project in request.parameters["filters"]) == projects

    def test_projects_and_collections_are_found(self, cluster, server):
        server.answers["groups"] = Answer({"items": [GROUP]})
        server.answers["collections"] = Answer({"items": [COLLECTION]})
        assert cluster.find(OWNER, ["name", "=", "x"], projects=True) == [GROUP_ITEM]
        assert cluster.find(OWNER, ["name", "=", "x"], projects=False) == [COLLECTION_ITEM]


ANNA = {"uuid": "zzzzz-tpzed-00000000000anna", "first_name": "Anna", "last_name": "Tester"}
ME = "zzzzz-tpzed-000000000000me0"


class TestSharedByComparison:
    """On a cluster without `groups.shared`, such as the server of these tests."""

    def shared(self, cluster, server, groups, users=()):
        def groups_answer(request: Request) -> Answer:
            first = ["uuid", ">", ""] in request.parameters["filters"]
            return Answer({"items": sorted(groups, key=lambda g: g["uuid"]) if first else []})

        def users_answer(request: Request) -> Answer:
            first = ["uuid", ">", ""] in request.parameters["filters"]
            asked = next(f[2] for f in request.parameters["filters"] if f[:2] == ["uuid", "in"])
            return Answer({"items": [u for u in users if u["uuid"] in asked] if first else []})

        server.answers["users/current"] = Answer({"uuid": ME})
        server.answers["groups"] = groups_answer
        server.answers["users"] = users_answer
        return cluster.shared()

    def group(self, number: int, owner: str) -> dict:
        return GROUP | {"uuid": f"zzzzz-j7d0g-{number:015}", "owner_uuid": owner}

    def test_projects_of_others_with_the_owners_that_can_be_seen(self, cluster, server):
        unseen = "zzzzz-j7d0g-00000000unseen0"
        groups = [self.group(1, ANNA["uuid"]), self.group(2, unseen)]
        shared = self.shared(cluster, server, groups, [ANNA])
        assert [(item.uuid, owner) for item, owner in shared.projects] == [
            (groups[0]["uuid"], ANNA["uuid"]),
            (groups[1]["uuid"], unseen),
        ]
        assert [(owner.uuid, owner.name) for owner in shared.owners] == [
            (ANNA["uuid"], "Anna Tester")
        ]

    def test_neither_mine_nor_parts_of_what_is_shared(self, cluster, server):
        mine, theirs = self.group(1, ME), self.group(2, ANNA["uuid"])
        groups = [mine, self.group(3, mine["uuid"]), theirs, self.group(4, theirs["uuid"])]
        shared = self.shared(cluster, server, groups)
        assert [item.uuid for item, _ in shared.projects] == [theirs["uuid"]]
        assert shared.owners == []

    @pytest.mark.parametrize(
        ("names", "shown"),
        [
            ({"first_name": "Anna", "last_name": ""}, "Anna"),
            ({"first_name": None, "last_name": "Tester"}, "Tester"),
            (
                {"first_name": "", "last_name": None, "email": "anna@example.com"},
                "anna@example.com",
            ),
        ],
    )
    def test_owner_is_shown_by_what_is_known(self, cluster, server, names, shown):
        groups = [self.group(1, ANNA["uuid"])]
        found = self.shared(cluster, server, groups, [ANNA | names])
        assert [owner.name for owner in found.owners] == [shown]


class TestFilters:
    """`--filters` narrows listings down, and lookups of names with them."""

    FILTERS = (
        ["name", "like", "A%"],
        ["collections.file_count", ">", 3],
        ["properties.stage", "=", "raw"],
        "(a < b)",
    )

    @pytest.fixture
    def cluster(self, server):
        cluster = connect(server.host, filters=self.FILTERS)
        server.requests.clear()
        return cluster

    def test_listings_take_all_as_they_are(self, cluster, server):
        server.answers["groups/contents"] = Answer({"items": []})
        assert list(cluster.contents(OWNER)) == []
        for request in server.requests:
            assert request.parameters["filters"][:4] == list(self.FILTERS)

    def test_lookups_take_those_of_their_table(self, cluster, server):
        server.answers["groups"] = server.answers["collections"] = Answer({"items": []})
        for projects in (True, False):
            cluster.find(OWNER, ["name", "=", "x"], projects=projects)
        groups, collections = (r.parameters["filters"] for r in server.requests)
        for_all = [["properties.stage", "=", "raw"], "(a < b)"]
        assert groups[-3:] == [["name", "like", "A%"], *for_all]
        assert collections[-4:] == [["name", "like", "A%"], ["file_count", ">", 3], *for_all]

    def test_what_is_asked_for_by_its_uuid_is_not_filtered(self, cluster, server):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP)
        cluster.project(GROUP["uuid"])
        assert "filters" not in server.requests[0].parameters


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, AccessRefused),
            (403, Forbidden),
            (404, NoSuchEntry),
            (408, TimedOut),
            (504, TimedOut),
            (400, ClusterError),
            (422, ClusterError),
            (429, ClusterError),
            (500, ClusterError),
            (502, ClusterError),
            (503, ClusterError),
        ],
    )
    def test_status_becomes_an_error_that_quotes_the_server(self, cluster, server, status, kind):
        server.answers["users/current"] = Answer({"errors": ["the reason why"]}, status)
        error = failure(cluster.user_uuid)
        assert type(error) is kind
        assert f"{server.host} answered {status}" in str(error)
        assert "the reason why" in str(error)

    @pytest.mark.parametrize("status", [401, 404, 500])
    def test_a_server_that_repeats_the_token_does_not_bring_it_into_the_log(
        self, cluster, server, status
    ):
        said = f"token {TOKEN} ({SECRET}) is not good"
        server.answers["users/current"] = Answer({"errors": [said]}, status)
        assert "is not good" in str(failure(cluster.user_uuid))

    @pytest.mark.parametrize("status", [404, 500, 502])
    def test_a_page_of_html_is_not_quoted(self, cluster, server, status):
        page = f"<html>\n<body>{'nginx ' * 1000}</body>\n</html>"
        server.answers["users/current"] = Answer(page, status, "text/html")
        error = failure(cluster.user_uuid)
        assert f"answered {status}" in str(error)

    @pytest.mark.parametrize("body", ["", "<html>hello</html>", "not json", '{"uuid": ', "\u0000"])
    def test_success_without_json(self, cluster, server, body):
        server.answers["users/current"] = Answer(body)
        assert isinstance(failure(cluster.user_uuid), RecordError)

    @pytest.mark.parametrize("body", [[], "text", 5, None])
    def test_success_without_a_record(self, cluster, server, body):
        server.answers["users/current"] = Answer(body if body != "text" else '"text"')
        assert isinstance(failure(cluster.user_uuid), RecordError)

    def test_silence(self, server, monkeypatch):
        monkeypatch.setattr(connection, "REQUEST_TIME_LIMIT_S", 0.2)
        cluster = connect(server.host)
        enough = threading.Event()

        def never(request: Request) -> Answer:
            enough.wait(10)
            return Answer({})

        server.answers["users/current"] = never
        error = failure(cluster.user_uuid)
        enough.set()
        assert isinstance(error, TimedOut)
        assert "did not answer in time" in str(error)

    def test_server_that_went_away(self, tmp_path):
        with ApiServer(tmp_path) as server:
            cluster = connect(server.host)
        error = failure(cluster.user_uuid)
        assert isinstance(error, ClusterUnreachable)
        assert server.host in str(error)

    def test_the_next_request_after_a_failure_succeeds(self, cluster, server):
        server.answers["users/current"] = Answer("nonsense", 500)
        failure(cluster.user_uuid)
        server.answers["users/current"] = Answer({"uuid": "zzzzz-tpzed-000000000000000"})
        assert cluster.user_uuid() == "zzzzz-tpzed-000000000000000"

    @pytest.mark.parametrize("status", [401, 404, 422])
    def test_a_refusal_costs_no_client_object(self, cluster, server, status, made):
        server.answers["users/current"] = Answer({"errors": ["no"]}, status)
        for _ in range(3):
            failure(cluster.user_uuid)
        assert made == []


class TestAHostThatIsGoneForAWhile:
    """Whoever asks meanwhile waits, whether there is a client object for it or not."""

    USER = Answer({"uuid": "zzzzz-tpzed-000000000000000"})

    @pytest.fixture
    def pauses(self, monkeypatch):
        """How long the connection would have waited between tries, which it does not."""
        pauses = []
        monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 0.0)
        monkeypatch.setattr(
            connection.Connection, "_pauses", lambda self: lambda time_s: pauses.append(time_s)
        )
        return pauses

    @pytest.fixture
    def gone(self, tmp_path):
        """What made two requests while its host was there; now it is not."""
        with ApiServer(tmp_path) as server:
            server.answers["users/current"] = self.USER
            connected = connect(server.host, retries=4)
            connected.user_uuid()
        return connected

    def test_a_request_is_repeated(self, gone, pauses):
        assert isinstance(failure(gone.user_uuid), ClusterUnreachable)
        assert len(pauses) == 4

    def test_so_is_the_next_one_after_it(self, gone, pauses, made):
        for _ in range(3):
            failure(gone.user_uuid)
        assert len(pauses) == 12
        assert made == []

    def test_a_request_that_needs_a_client_object_of_its_own_waits_too(self, server, monkeypatch):
        monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 0.0)
        asked = connection.Connection(
            server.host, TOKEN, insecure=True, retries=4, metrics=Metrics()
        )
        server.answers["users/current"] = self.USER
        asked.send(lambda client: client.users().current())
        asked.use_token(TOKEN)  # so that there is none
        made, make = [], arvados.api.api_client

        def refused_twice(*arguments, **options):
            made.append(options["num_retries"])
            if len(made) < 3:
                raise ConnectionRefusedError
            return make(*arguments, **options)

        monkeypatch.setattr(arvados.api, "api_client", refused_twice)
        asked.send(lambda client: client.users().current())
        assert made == [0, 0, 0]


class TestRecords:
    @pytest.mark.parametrize("field", ["uuid", "portable_data_hash", "manifest_text"])
    @pytest.mark.parametrize("value", [None, 5, ["x"]])
    def test_field_that_is_no_text(self, cluster, server, field, value):
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(COLLECTION | {field: value})
        error = failure(lambda: cluster.collection(COLLECTION["uuid"]))
        assert isinstance(error, RecordError)
        assert repr(field) in str(error)

    @pytest.mark.parametrize("field", ["uuid", "portable_data_hash", "manifest_text"])
    def test_field_that_is_missing(self, cluster, server, field):
        record = {name: value for name, value in COLLECTION.items() if name != field}
        server.answers[f"collections/{COLLECTION['uuid']}"] = Answer(record)
        error = failure(lambda: cluster.collection(COLLECTION["uuid"]))
        assert isinstance(error, RecordError)

    @pytest.mark.parametrize("name", [5, ["x"], {"a": 1}])
    def test_name_that_is_no_text(self, cluster, server, name):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP | {"name": name})
        assert isinstance(failure(lambda: cluster.project(GROUP["uuid"])), RecordError)

    @pytest.mark.parametrize("time", ["yesterday", "2023-13-01T00:00:00Z", 5, ["x"]])
    def test_bad_time(self, cluster, server, time):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP | {"modified_at": time})
        error = failure(lambda: cluster.project(GROUP["uuid"]))
        assert isinstance(error, RecordError)
        assert "bad time" in str(error)

    @pytest.mark.parametrize(
        ("time", "nanoseconds"),
        [
            (None, 0),
            ("", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20.999999999Z", 1_700_000_000_999_999_000),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000_000),
            ("2023-11-14T22:13:20", 1_700_000_000_000_000_000),
            ("1969-12-31T23:59:59.5Z", -500_000_000),
        ],
    )
    def test_times_are_nanoseconds_since_1970_and_without_a_zone_utc(
        self, cluster, server, time, nanoseconds
    ):
        server.answers[f"groups/{GROUP['uuid']}"] = Answer(GROUP | {"modified_at": time})
        assert cluster.project(GROUP["uuid"]).modified_ns == nanoseconds

    @pytest.mark.parametrize("body", [{}, {"items": None}, {"items": {}}, {"items": ["x", 5]}])
    def test_list_that_is_none(self, cluster, server, body):
        server.answers["groups"] = Answer(body)
        assert isinstance(
            failure(lambda: cluster.find(OWNER, ["name", "=", "a"], projects=True)), RecordError
        )


class TestAnAnswerThatBreaksOff:
    BROKEN = Answer({"uuid": "x"}, missing=10)

    def test_is_a_broken_connection(self, cluster, server):
        server.answers["users/current"] = self.BROKEN
        error = failure(cluster.user_uuid)
        assert isinstance(error, ClusterUnreachable)
        assert f"The connection to the Arvados API host {server.host} failed" in str(error)

    def test_is_asked_for_again(self, server, monkeypatch):
        monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 0.0)
        answers = iter([self.BROKEN, self.BROKEN, Answer({"uuid": "zzzzz-tpzed-000000000000000"})])
        server.answers["users/current"] = lambda request: next(answers)
        assert connect(server.host, retries=2).user_uuid() == "zzzzz-tpzed-000000000000000"

    def test_is_not_asked_for_for_ever(self, server, monkeypatch):
        monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 0.0)
        server.answers["users/current"] = self.BROKEN
        assert isinstance(failure(connect(server.host, retries=2).user_uuid), ClusterUnreachable)
        assert [request.path for request in server.requests].count("users/current") == 3


class TestPatience:
    """A request that fails for a passing reason is repeated, but not for ever at the end."""

    @pytest.fixture
    def refusing(self, server):
        server.answers["users/current"] = Answer({"errors": ["busy"]}, 503)
        return lambda retries: connection.Connection(
            server.host, TOKEN, insecure=True, retries=retries, metrics=Metrics()
        )

    def test_is_over_when_its_time_is(self, refusing, server):
        patient = refusing(retries=1000)
        patient.limit_patience(0.0)
        with pytest.raises(ClusterUnreachable, match="the mount is ending"):
            patient.send(lambda client: client.users().current())
        assert [request.path for request in server.requests].count("users/current") == 1

    def test_is_over_at_last_whatever_retries_are_left(self, refusing, server, monkeypatch):
        """A host that is silent for five minutes each time would keep its caller for an hour."""
        monkeypatch.setattr(connection, "LONGEST_TRYING_S", 0.0)
        with pytest.raises(TimedOut, match="did not answer, again and again"):
            refusing(retries=1000).send(lambda client: client.users().current())
        assert [request.path for request in server.requests].count("users/current") == 1

    def test_ends_a_pause_that_has_begun(self, refusing, monkeypatch):
        monkeypatch.setattr(connection, "LONGEST_PAUSE_S", 600.0)
        patient = refusing(retries=1000)
        timer = threading.Timer(0.2, patient.limit_patience, [0.0])
        timer.start()
        with pytest.raises(ClusterUnreachable, match="the mount is ending"):
            patient.send(lambda client: client.users().current())
        timer.join()
