"""Which Keep services are asked for a block, and in which order."""

import hashlib
import logging
import threading
import time
from typing import Any

import pytest

from arvados_fuse.errors import ClusterUnreachable
from arvados_fuse.keep.services import ServiceList

FOO = hashlib.md5(b"foo").hexdigest()


def record(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "uuid": f"zzzzz-bi6l4-{number:015d}",
        "service_host": f"keep{number}.example.com",
        "service_port": 25107,
        "service_ssl_flag": False,
        "service_type": "disk",
        "read_only": False,
        **changes,
    }


def urls(services: ServiceList, *hints: str, block_hash: str = FOO) -> list[str]:
    return [each.url_base for each in services.for_block(block_hash, hints)]


def test_services_are_asked_in_rendezvous_order() -> None:
    """The order of the hash of `foo` that the Arvados clients agree on: 3, 2, 1."""
    services = ServiceList(lambda: [record(1), record(2), record(3)])
    assert urls(services) == [
        "http://keep3.example.com:25107/",
        "http://keep2.example.com:25107/",
        "http://keep1.example.com:25107/",
    ]


def test_the_order_is_that_of_the_sdk() -> None:
    import arvados.keep

    records = [record(number) for number in range(1, 9)]

    class Api:
        api_token = "x"
        insecure = False

        def config(self) -> dict[str, Any]:
            raise KeyError

        def keep_services(self) -> "Api":
            return self

        def accessible(self) -> "Api":
            return self

        def execute(self) -> dict[str, Any]:
            return {"items": [dict(each) for each in records]}

    sdk = arvados.keep.KeepClient(api_client=Api(), proxy="")
    services = ServiceList(lambda: records)
    for number in range(20):
        block_hash = hashlib.md5(bytes([number])).hexdigest()
        locator = arvados.keep.KeepLocator(f"{block_hash}+1")
        assert urls(services, block_hash=block_hash) == sdk.weighted_service_roots(locator)


def test_a_uuid_may_have_28_characters() -> None:
    services = ServiceList(lambda: [record(1, uuid="zzzzz-bi6l4-0123456789abcdef")])
    assert len(services.for_block(FOO, ())) == 1


def test_hints_come_first() -> None:
    gateway = record(9, service_type="gateway:test", service_ssl_flag=True)
    services = ServiceList(lambda: [record(1), gateway])
    assert urls(services, "K@zzzz1", f"K@{gateway['uuid']}", "A0@0") == [
        "https://keep.zzzz1.arvadosapi.com/",
        "https://keep9.example.com:25107/",
        "http://keep1.example.com:25107/",
    ]


def test_gateways_are_used_through_hints_only() -> None:
    services = ServiceList(lambda: [record(1), record(2, service_type="gateway:test")])
    assert urls(services) == ["http://keep1.example.com:25107/"]


@pytest.mark.parametrize("hint", ["K@", "K@zz.zz", "K@zzzzzz", "K@zzzzz-bi6l4-000000000000009"])
def test_hints_that_lead_nowhere_are_passed_over(hint: str) -> None:
    services = ServiceList(lambda: [record(1)])
    assert urls(services, hint) == ["http://keep1.example.com:25107/"]


def test_ipv6_hosts_get_brackets() -> None:
    services = ServiceList(lambda: [record(1, service_host="::1")])
    assert urls(services) == ["http://[::1]:25107/"]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        record(2, service_host="evil/path"),
        record(2, service_host=None),
        record(2, service_port=0),
        record(2, service_port="80"),
        record(2, uuid=None),
    ],
)
def test_a_record_that_makes_no_sense_is_left_out_and_logged(
    bad: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    services = ServiceList(lambda: [bad, record(1)])
    with caplog.at_level(logging.WARNING):
        assert urls(services) == ["http://keep1.example.com:25107/"]
    assert "makes no sense" in caplog.text


def test_settings_replace_the_list_of_the_api_server() -> None:
    def never() -> list[dict[str, Any]]:
        raise AssertionError("the API server was asked")

    both = ServiceList(never, keep_services="http://a:1 https://b:2/", keep_proxy="https://c/")
    assert sorted(urls(both)) == ["http://a:1/", "https://b:2/"]
    both.refresh()
    assert urls(ServiceList(never, keep_proxy="https://c/")) == ["https://c/"]
    assert both.for_block(FOO, ())[0].kind == "proxy"


@pytest.mark.parametrize(
    "url", ["keep.example.com", "ftp://x/", "http://", "http://x:y", "http://x:99999", "http://[x"]
)
def test_a_setting_that_is_no_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="ARVADOS_KEEP_PROXY must hold URLs"):
        ServiceList(list, keep_proxy=url)


def test_the_list_is_asked_for_once_and_again_on_refresh() -> None:
    answers = [[record(1)], [record(2)]]
    services = ServiceList(lambda: answers.pop(0))
    assert urls(services) == urls(services) == ["http://keep1.example.com:25107/"]
    services.refresh()
    assert urls(services) == ["http://keep2.example.com:25107/"]


def test_the_old_list_stays_when_a_refresh_fails() -> None:
    answers: list[Any] = [[record(1)], ClusterUnreachable("down")]

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    services = ServiceList(ask)
    before = urls(services)
    services.refresh()
    assert urls(services) == before
    assert not answers


def test_threads_that_need_the_list_together_cause_one_request() -> None:
    asked = []
    together = threading.Barrier(4)

    def ask() -> list[dict[str, Any]]:
        asked.append(1)
        time.sleep(0.05)  # the others come meanwhile
        return [record(1)]

    services = ServiceList(ask)

    def use() -> None:
        together.wait(10)
        services.for_block(FOO, ())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [1]


def test_who_has_prepared_need_not_ask_again() -> None:
    asked: list[int] = []

    def ask() -> list[dict[str, Any]]:
        asked.append(1)
        return [record(1)]

    services = ServiceList(ask)
    services.prepare()
    services.prepare()
    assert asked == [1]
    assert urls(services) == ["http://keep1.example.com:25107/"]
    assert asked == [1]
