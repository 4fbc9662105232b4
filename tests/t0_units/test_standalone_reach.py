"""The short cuts to a user's levels give what the definition gives, in any graph."""

import itertools
from collections import defaultdict
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arvados_fuse.standalone.records import access, reach, sql
from arvados_fuse.standalone.records.access import Caller
from arvados_fuse.standalone.records.codec import decoded, encoded
from arvados_fuse.standalone.records.conditions import ALWAYS
from arvados_fuse.standalone.records.tables import COLLECTIONS, GROUPS, LINKS, LOGS, TOKENS, USERS
from tests.support.local_cluster import LocalCluster

PAST, NOW, FUTURE = (f"20{year}-01-01T00:00:00.000000Z" for year in (20, 25, 30))
KINDS = (USERS, GROUPS, COLLECTIONS, LINKS, LOGS, TOKENS)
NAMES = ("can_read", "can_login", "can_write", "can_manage")
MOMENTS = st.sampled_from([None, None, None, PAST, FUTURE])


def uuid(resource, number):
    return f"zzzzz-{resource.infix}-{number:015d}"


def uuids(*resources, count=5):
    return st.sampled_from([uuid(one, number) for one in resources for number in range(count)])


@st.composite
def graphs(draw):
    """Records of every kind that point to each other at random: cycles, loose ends, and all."""
    records = []
    for resource in (USERS, GROUPS, COLLECTIONS):
        for number in range(5):
            record = {"uuid": uuid(resource, number), "owner_uuid": draw(uuids(USERS, GROUPS))}
            if resource is not USERS:
                record["trash_at"] = draw(MOMENTS)
                record["delete_at"] = record["trash_at"] and draw(MOMENTS)
                record["is_trashed"] = record["trash_at"] == PAST
            if resource is GROUPS:
                record["group_class"] = draw(st.sampled_from(["project", "role"]))
                record["frozen_by_uuid"] = draw(st.none() | st.just(uuid(USERS, 0)))
            if resource is COLLECTIONS:
                record["current_version_uuid"] = draw(uuids(COLLECTIONS))
            records.append((resource, record))
    for number in range(draw(st.integers(0, 12))):
        link = {
            "link_class": draw(st.sampled_from(["permission"] * 5 + ["tag"])),
            "name": draw(st.sampled_from(NAMES)),
            "tail_uuid": draw(uuids(USERS, GROUPS)),
            "head_uuid": draw(uuids(USERS, GROUPS, COLLECTIONS)),
        }
        records.append((LINKS, {"uuid": uuid(LINKS, number), "owner_uuid": uuid(USERS, 0), **link}))
    for number in range(3):
        ends = {
            "object_uuid": draw(uuids(USERS, GROUPS, COLLECTIONS)),
            "object_owner_uuid": draw(st.none() | uuids(USERS, GROUPS)),
        }
        owner = {"owner_uuid": draw(uuids(USERS))}
        records.append((LOGS, {"uuid": uuid(LOGS, number), **owner, **ends}))
        records.append((TOKENS, {"uuid": uuid(TOKENS, number), **owner, "api_token": str(number)}))
    return records


def fill(db, records):
    for resource in KINDS:
        sql.delete(db, resource.name, ALWAYS)
    for resource, values in records:
        record = {attribute.name: attribute.default for attribute in resource.columns}
        moment = {"created_at": PAST, "modified_at": PAST}
        row = encoded(resource, {**record, **moment, **values})
        if resource is GROUPS:
            row["name"] = values["uuid"]
        if resource is LOGS:
            del row["id"]
        sql.insert(db, resource.name, row)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@contextmanager
def filled(cluster, records):
    """A transaction in which there are these records and no others; in the end it is undone."""
    with suppress(Undo), cluster.database.write() as db:
        fill(db, records)
        yield db
        raise Undo


class Undo(Exception):
    """Ends a transaction without a change."""


@settings(max_examples=150, deadline=None)
@given(records=graphs())
def test_both_short_cuts_give_the_levels_of_the_definition(cluster, records):
    with filled(cluster, records) as db:
        for number in range(5):
            user = uuid(USERS, number)
            check_levels(db, user, records)  # from the object upwards
            reach.prepare(db, user)
            check_levels(db, user, records)  # as noted


def check_levels(db, user, records):
    rows = db.execute(reach.DEFINITION, {"user": user}).fetchall()
    level = defaultdict(int, {row["uuid"]: row["level"] for row in rows})
    owner_level = defaultdict(int, {row["uuid"]: row["owner_level"] for row in rows})
    for _, values in records:
        one, owner = values["uuid"], values["owner_uuid"]
        assert reach.level_on(db, user, one) == level[one]
        assert reach.level_on(db, user, None, one) == owner_level[one]
        assert reach.level_on(db, user, one, owner) == max(level[one], owner_level[owner])


@settings(max_examples=150, deadline=None)
@given(records=graphs(), is_active=st.booleans(), include_trash=st.booleans())
def test_what_is_listed_may_be_seen_and_the_other_way_round(
    cluster, records, is_active, include_trash
):
    with filled(cluster, records) as db:
        for resource, number in itertools.product(KINDS, range(3)):
            caller = Caller(uuid(USERS, number), False, "", "", is_active=is_active)
            rows = sql.select(db, resource.small_columns, resource.name, ALWAYS).fetchall()
            may_be_seen = {
                row["uuid"]
                for row in rows
                if access.may_see(
                    db, resource, caller, NOW, decoded(resource, row), include_trash=include_trash
                )
            }
            for name, table in (("", resource.name), ("other", f"{resource.name} AS other")):
                condition = access.visible(
                    db, resource, caller, NOW, include_trash=include_trash, table=name
                )
                listed = {row["uuid"] for row in sql.select(db, ["uuid"], table, condition)}
                assert listed == may_be_seen


USER, OTHER = uuid(USERS, 0), uuid(USERS, 1)
PROJECT, ROLE = uuid(GROUPS, 0), uuid(GROUPS, 1)
RECORDS = (
    (USERS, {"uuid": USER, "owner_uuid": OTHER}),
    (USERS, {"uuid": OTHER, "owner_uuid": PROJECT}),
    (GROUPS, {"uuid": PROJECT, "owner_uuid": OTHER, "group_class": "project"}),
    (GROUPS, {"uuid": ROLE, "owner_uuid": OTHER, "group_class": "role"}),
    *(
        (
            LINKS,
            {
                "uuid": uuid(LINKS, number),
                "owner_uuid": OTHER,
                "link_class": "permission",
                "name": "can_read",
                "tail_uuid": tail,
                "head_uuid": head,
            },
        )
        for number, (tail, head) in enumerate([(USER, ROLE), (ROLE, PROJECT)])
    ),
)
CHANGES = (
    "UPDATE links SET link_class = 'tag'",
    "UPDATE links SET name = 'can_manage'",
    f"UPDATE links SET tail_uuid = '{OTHER}'",
    f"UPDATE links SET head_uuid = '{OTHER}'",
    "DELETE FROM links",
    f"UPDATE groups SET owner_uuid = '{USER}'",
    "UPDATE groups SET is_trashed = 1",
    "DELETE FROM groups",
    f"UPDATE users SET owner_uuid = '{USER}'",
    f"UPDATE groups SET owner_uuid = '{OTHER}'; DELETE FROM users",
)


class TestNotes:
    """What is noted of a user is right as long as it is used."""

    @pytest.mark.parametrize("change", CHANGES)
    def test_every_change_of_the_graph_counts(self, cluster, change):
        with filled(cluster, RECORDS) as db:
            reach.prepare(db, USER)
            for statement in change.split(";"):
                db.execute(statement)
            check_levels(db, USER, RECORDS)
            reach.prepare(db, USER)
            check_levels(db, USER, RECORDS)

    def test_changes_of_what_is_not_in_the_graph_do_not_count(self, cluster):
        with filled(cluster, RECORDS) as db:
            before = reach.version(db)
            db.execute("UPDATE groups SET name = 'x' WHERE uuid = ?", (PROJECT,))
            db.execute("UPDATE users SET prefs = '{}'")
            db.execute("UPDATE links SET properties = '{}'")
            assert reach.version(db) == before

    def test_what_is_undone_is_undone_in_the_notes(self, cluster):
        with filled(cluster, RECORDS) as db:
            reach.prepare(db, USER)
        with filled(cluster, RECORDS[:-1]) as db:
            check_levels(db, USER, RECORDS)

    def test_only_so_many_users_are_noted(self, cluster):
        with filled(cluster, RECORDS) as db:
            for number in range(100):
                reach.prepare(db, uuid(USERS, number))
            (count,) = db.execute("SELECT count(DISTINCT user_uuid) FROM temp.reach").fetchone()
            assert 0 < count <= 20
