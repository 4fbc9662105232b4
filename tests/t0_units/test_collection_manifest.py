"""Manifest text: the portable data hash, and what every kind of damage leads to."""

import hashlib

import pytest

from arvados_fuse.collection.manifest import portable_data_hash
from arvados_fuse.collection.tree import Tree
from arvados_fuse.errors import ManifestError

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"
SIGNED = f"{FOO}+A0123456789abcdef0123456789abcdef01234567@6553f100"


def walk(text):
    """Parse everything."""
    pending = [Tree.from_manifest(text).root]
    while pending:
        directory = pending.pop()
        table = directory.files()
        for index in range(len(table)):
            table.segments(index)
        pending.extend(directory.subdirectories.values())


class TestPortableDataHash:
    EXAMPLE = rf". {FOO} 0:3:my\040file 3:0:empty" + "\n" + rf"./d {EMPTY} 0:0:\056" + "\n"

    def test_it_is_md5_and_length_of_the_text(self):
        assert portable_data_hash(self.EXAMPLE) == "f7a506652a6d79cdc5117fcf8861d248+110"

    def test_of_no_text(self):
        assert portable_data_hash("") == "d41d8cd98f00b204e9800998ecf8427e+0"

    def test_hints_do_not_count(self):
        hinted = self.EXAMPLE.replace(FOO, SIGNED + "+K@zzzzz").replace(EMPTY, EMPTY + "+Z")
        assert portable_data_hash(hinted) == portable_data_hash(self.EXAMPLE)

    def test_names_that_look_like_hints_or_locators_count(self):
        text = f"./{FOO}+Zx {FOO} 0:3:{FOO}+Zx\n"
        digest = hashlib.md5(text.encode()).hexdigest()
        assert portable_data_hash(text) == f"{digest}+{len(text)}"

    def test_the_length_is_in_bytes(self):
        assert portable_data_hash(f". {FOO} 0:3:é\n").endswith(f"+{len(FOO) + 10}")

    def test_of_a_text_longer_than_the_pieces_it_is_worked_on_in(self):
        text = f". {FOO} " + " ".join(f"0:3:{number:0100d}" for number in range(25_000)) + "\n"
        digest = hashlib.md5(text.encode()).hexdigest()
        assert portable_data_hash(text.replace(FOO, SIGNED)) == f"{digest}+{len(text)}"

    def test_text_that_is_not_unicode_has_none(self):
        with pytest.raises(ManifestError):
            portable_data_hash(f". {FOO} 0:3:\ud800\n")


class TestDamage:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(f". {FOO} 0:3:a", id="no line feed at the end"),
            pytest.param(f". {FOO} 0:3:a\n\n", id="empty line"),
            pytest.param("\n", id="nothing but an empty line"),
            pytest.param(".\n", id="stream name alone"),
            pytest.param(f"{FOO} 0:3:a\n", id="no stream name"),
            pytest.param(f"a {FOO} 0:3:a\n", id="stream name without dot"),
            pytest.param(f"/a {FOO} 0:3:a\n", id="stream name with a slash in front"),
            pytest.param(f".a {FOO} 0:3:a\n", id="stream name without slash"),
            pytest.param(f"./ {FOO} 0:3:a\n", id="stream name with a slash at the end"),
            pytest.param(f"./a//b {FOO} 0:3:a\n", id="stream name with two slashes"),
            pytest.param(f"./a/../b {FOO} 0:3:a\n", id="stream name with .."),
            pytest.param(f"./a/. {FOO} 0:3:a\n", id="stream name with ."),
            pytest.param(rf"./a/\056\056 {FOO} 0:3:a" "\n", id="stream name with escaped .."),
            pytest.param(rf"./a\057\057b {FOO} 0:3:a" "\n", id="stream name with escaped slashes"),
            pytest.param(f"./a\tb {FOO} 0:3:a\n", id="stream name with a tab"),
            pytest.param(f"./a {FOO} 0:3:a\r\n", id="carriage return"),
            pytest.param(f". {FOO}\t0:3:a\n", id="tab"),
            pytest.param(f". {FOO} 0:3:a\x0bb\n", id="control character"),
            pytest.param(f". {FOO} 0:3:\udc80\n", id="not unicode"),
            pytest.param(". 0:3:a\n", id="no locator"),
            pytest.param(f". {FOO}\n", id="no file token"),
            pytest.param(f". {FOO} \n", id="no file token but a space"),
            pytest.param(f".  {FOO} 0:3:a\n", id="two spaces before the locators"),
            pytest.param(f". {FOO}  {FOO} 0:3:a\n", id="two spaces between locators"),
            pytest.param(f". {FOO}  0:3:a\n", id="two spaces before the files"),
            pytest.param(f". {FOO} 0:3:a  0:3:b\n", id="two spaces between files"),
            pytest.param(f". {FOO} 0:3:a \n", id="space at the end"),
            pytest.param(f" . {FOO} 0:3:a\n", id="space in front"),
            pytest.param(f". {FOO[:-2]} 0:3:a\n", id="locator without size"),
            pytest.param(f". {FOO.upper()} 0:3:a\n", id="locator in capitals"),
            pytest.param(f". {FOO}+bad 0:3:a\n", id="locator with a bad hint"),
            pytest.param(f". {FOO} {FOO[1:]} 0:3:a\n", id="second locator too short"),
            pytest.param(f". {FOO}{2**63} 0:3:a\n", id="block larger than 2**63 - 1"),
            pytest.param(f". {FOO}{'9' * 10_000} 0:3:a\n", id="block size of 10,000 digits"),
            pytest.param(f". {f'{FOO[:-1]}{2**62} ' * 2}0:3:a\n", id="stream beyond 2**63 - 1"),
            pytest.param(f". {FOO} 0:3:a {FOO} 0:3:b\n", id="locator after a file token"),
            pytest.param(f". {FOO} 0:3\n", id="file token without name"),
            pytest.param(f". {FOO} 0:3:\n", id="file token with empty name"),
            pytest.param(f". {FOO} 0:a\n", id="file token without size"),
            pytest.param(f". {FOO} :3:a\n", id="file token with empty position"),
            pytest.param(f". {FOO} 0:3:a 0::b\n", id="file token with empty size"),
            pytest.param(f". {FOO} -1:3:a\n", id="negative position"),
            pytest.param(f". {FOO} +0:3:a\n", id="position with a sign"),
            pytest.param(f". {FOO} 0:1_0:a\n", id="size with an underscore"),
            pytest.param(f". {FOO} 0:٣:a\n", id="size in other digits"),
            pytest.param(f". {FOO} 0x0:3:a\n", id="hexadecimal position"),
            pytest.param(f". {FOO} 0:{2**63}:a\n", id="size larger than 2**63 - 1"),
            pytest.param(f". {FOO} {2**63}:0:a\n", id="position larger than 2**63 - 1"),
            pytest.param(f". {FOO} 0:{'1' * 100_000}:a\n", id="size of 100,000 digits"),
            pytest.param(f". {FOO} {'0' * 100_000}:3:a\n", id="position of 100,000 digits"),
            pytest.param(f". {FOO} {f'0:{2**62}:a ' * 2}0:3:b\n", id="file beyond 2**63 - 1"),
            pytest.param(f". {FOO} 0:3:..\n", id="file named .."),
            pytest.param(f". {FOO} 0:3:.\n", id="file with content named ."),
            pytest.param(rf". {FOO} 0:3:\056" "\n", id="file with content named escaped ."),
            pytest.param(rf". {FOO} 0:3:\056." "\n", id="file named half-escaped .."),
            pytest.param(f". {FOO} 0:3:a/../b\n", id="path with .."),
            pytest.param(f". {FOO} 0:3:a/..\n", id="path that ends in .."),
            pytest.param(f". {FOO} 0:3:./a\n", id="path with ."),
            pytest.param(rf". {FOO} 0:3:\056\056/a" "\n", id="path with escaped .."),
            pytest.param(f". {FOO} 0:3:/a\n", id="path with a slash in front"),
            pytest.param(f". {FOO} 0:3:a/\n", id="path with a slash at the end"),
            pytest.param(f". {FOO} 0:3:a//b\n", id="path with two slashes"),
            pytest.param(rf". {FOO} 0:3:a\057" "\n", id="path with an escaped slash at the end"),
            pytest.param(f". {FOO} 0:3:a\n./a {FOO} 0:3:b\n", id="file and directory"),
            pytest.param(f". {FOO} 0:3:a 0:3:a/b\n", id="file and directory in one line"),
            pytest.param(f". {FOO[:-1]}0:3:a/b\n", id="path without locator"),
            pytest.param(f". {FOO} 0:4:a\n", id="token beyond its stream"),
            pytest.param(f". {FOO} 4:0:a\n", id="empty token beyond its stream"),
            pytest.param(
                "".join(f". {FOO[:-1]}{2**62} 0:{2**62}:d/{name}\n" for name in "abc"),
                id="directory of several lines beyond 2**63 - 1",
            ),
            pytest.param(f". {FOO} 0:4:a/b\n", id="token with a path beyond its stream"),
        ],
    )
    def test_leads_to_a_manifest_error(self, text):
        with pytest.raises(ManifestError):
            walk(text)

    def test_of_one_token_in_a_long_line_is_found(self):
        tokens = [f"{number % 4}:0:{number:050d}" for number in range(50_000)]
        walk(f". {FOO} {' '.join(tokens)}\n")
        for place in (0, 17_000, 49_999):
            broken = [*tokens[:place], "0:0", *tokens[place + 1 :]]
            with pytest.raises(ManifestError, match="'0:0'"):
                walk(f". {FOO} {' '.join(broken)}\n")

    def test_of_one_locator_in_a_long_line_is_found(self):
        locators = [SIGNED] * 30_000
        walk(f". {' '.join(locators)} 0:90000:a\n")
        for place in (0, 15_000, 29_999):
            broken = [*locators[:place], "oops", *locators[place + 1 :]]
            with pytest.raises(ManifestError, match="'oops'"):
                walk(f". {' '.join(broken)} 0:3:a\n")

    def test_fields_are_not_taken_from_the_next_token(self):
        """Two tokens that have six fields only when counted together."""
        with pytest.raises(ManifestError, match="'1:2'"):
            walk(f". {FOO} 1:2 0:1:2:1\n")

    def test_is_reported_with_its_line(self):
        with pytest.raises(ManifestError, match="Line 3 of the manifest"):
            walk(f". {FOO} 0:3:a\n./b {FOO} 0:3:a\n./c {FOO} 0:3:a 1:b\n")

    def test_is_quoted_short_and_printable(self):
        with pytest.raises(ManifestError) as caught:
            walk(f". {FOO} 0:3:a\x07{'x' * 1_000_000}\n")
        assert len(str(caught.value)) < 200
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize(
        "text",
        [
            f". {SIGNED}+? 0:3:a\n",
            f". {SIGNED}\n",
            f". {SIGNED.replace('+', '-')} 0:3:a\n",
            f". {SIGNED.replace('+A', ' ')} 0:3:a\n",
            f". {FOO} 0:3:a {SIGNED}\n",
            f"{SIGNED} 0:3:a\n",
            f". {SIGNED.replace('+A', '+Rzzzzz-')}? 0:3:a\n",
        ],
    )
    def test_is_quoted_without_signatures(self, text):
        with pytest.raises(ManifestError) as caught:
            walk(text)
        assert "0123456789abcdef0" not in str(caught.value)
        assert "6553f100" not in str(caught.value)
