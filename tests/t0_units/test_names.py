"""Names of the cluster become names that a directory can have; and back, for lookups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arvados_fuse.fusedir.names import NAME_MAX, NameRules
from tests.support.fakes import fits

ANY_NAME = st.text(st.characters(), max_size=300)  # lone surrogates too: JSON can hold them
SUBSTITUTES = st.sampled_from([None, "", "/", "_", "%2F", "[slash]"])


class TestPresentation:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("plain", "plain"),
            ("Größe 1,5 µm", "Größe 1,5 µm"),
            ("", "_"),
            (".", "_"),
            ("..", "__"),
            ("...", "..."),
            ("a/b", "a%b"),
            ("/", "%"),
            ("a\0b", "a_b"),
        ],
    )
    def test_what_a_directory_cannot_have_is_replaced(self, name, shown):
        assert NameRules("%").present(name) == shown

    @pytest.mark.parametrize("slash", [None, "", "/"])
    def test_without_a_substitute_of_the_cluster_a_slash_is_an_underscore(self, slash):
        assert NameRules(slash).present("a/b") == "a_b"

    def test_half_a_surrogate_pair_is_replaced(self):
        """JSON can say it, UTF-8 cannot."""
        assert NameRules(None).present("a\ud83db\udfff") == "a_b_"

    def test_bytes_of_a_file_name_that_is_no_utf_8_stay(self):
        name = b"Gr\xf6\xdfe".decode("utf-8", "surrogateescape")
        assert NameRules(None).present(name) == name
        assert NameRules(None).all_plain([name])

    def test_a_name_of_the_longest_length_stays(self):
        assert NameRules(None).present("x" * NAME_MAX) == "x" * NAME_MAX
        assert NameRules(None).present("ö" * 127) == "ö" * 127

    def test_long_names_are_cut_and_stay_apart(self):
        names = ["ö" * 200 + end for end in ("a", "b")]
        shown = [NameRules(None).present(name) for name in names]
        assert [len(s.encode()) <= NAME_MAX for s in shown] == [True, True]
        assert shown[0] != shown[1]
        assert all(s.startswith("ö" * 120) for s in shown)

    @given(name=ANY_NAME, slash=SUBSTITUTES)
    def test_any_name_can_be_shown(self, name, slash):
        shown = NameRules(slash).present(name)
        assert 1 <= len(shown.encode("utf-8", "surrogateescape")) <= NAME_MAX
        assert "/" not in shown
        assert "\0" not in shown
        assert shown not in (".", "..")

    @given(names=st.lists(ANY_NAME.filter(lambda n: n not in ("", ".", "..") and "/" not in n)))
    def test_names_of_files_are_plain_exactly_if_none_is_replaced(self, names):
        rules = NameRules("_")
        if rules.all_plain(names):
            assert [rules.present(name) for name in names] == names
        else:
            assert any(len(n) * 4 > NAME_MAX or rules.present(n) != n for n in names)


class TestLookup:
    @pytest.mark.parametrize("slash", [None, "", "/"])
    def test_without_a_substitute_the_name_is_what_is_shown(self, slash):
        assert NameRules(slash).query("a_b") == ["name", "=", "a_b"]

    def test_a_name_without_the_substitute_is_what_is_shown(self):
        assert NameRules("_").query("ab") == ["name", "=", "ab"]

    def test_where_the_substitute_stands_may_be_anything(self):
        assert NameRules("_").query("a_b_c") == ["name", "like", "a%b%c"]
        assert NameRules("%2F").query("a%2Fb") == ["name", "like", "a%b"]

    def test_nothing_else_is_a_wildcard(self):
        assert NameRules("-").query(r"a-b%c_d\e") == ["name", "like", r"a%b\%c\_d\\e"]

    def test_bytes_that_are_no_utf_8_can_be_no_name_of_the_cluster(self):
        assert NameRules("_").query(b"a\xff".decode("utf-8", "surrogateescape")) is None

    @given(
        name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
        slash=st.sampled_from(["_", "%2F"]),
    )
    def test_any_name_with_slashes_is_found_by_what_is_shown(self, name, slash):
        """Unless it has something else that is replaced."""
        if "\0" not in name and name not in (".", ".."):
            rules = NameRules(slash)
            assert fits(name, rules.query(rules.present(name)))
