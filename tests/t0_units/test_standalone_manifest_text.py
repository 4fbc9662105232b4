"""What the API server does with manifest texts."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arvados_fuse.standalone import manifest_text
from arvados_fuse.standalone.manifest_text import ManifestInvalid
from arvados_fuse.standalone.signatures import BlobSigner

FOO = "acbd18db4cc2f85cedef654fccc4a4d8+3"
BAR = "37b51d194a7513e45b56f6524f2d51f2+3"
EMPTY = "d41d8cd98f00b204e9800998ecf8427e+0"
SIGNATURE = "+A" + "0123456789" * 4 + "@70000000"


@pytest.mark.parametrize(
    "text",
    [
        "",
        f". {FOO} 0:3:foo\n",
        f". {FOO} {BAR} 0:3:foo 3:3:bar 0:6:both\n",
        f"./a/b {FOO}{SIGNATURE}+Zhint+K@zzzzz 0:3:foo\n",
        f"./a {EMPTY} 0:0:empty\n./b {FOO} 0:3:x\n./a {FOO} 0:3:y\n",
        f". {FOO} 0:3:my\\040file 0:3:colon:and\\072colon 0:3:back\\134slash\n",
        f". {FOO} 0:3:sub/dir/file 0:3:..hidden 0:3:a..b 0:3:...\n",
        f"./with\\040space {FOO} 0:3:Gr\u00fc\u00dfe\n",
        f". {FOO} 0:3:no\u00a0break\u3000space\u0085\u2028\n",
        f"./d {EMPTY} 0:0:\\056\n",
        f"./d {EMPTY} 0:0:.\n",
        f". {FOO} 0:3:a\\056txt 0:3:a\\057b\n",
        f". {FOO} 0:3:\\001\\177\x7f\n",
        f". {FOO}+Z 0:3:bare-hint\n",
        f". {FOO} 0:4:beyond-the-blocks\n",
        f". {FOO} {'12345678901234567890123456789012+5'} 0:3:digits\n",
    ],
)
def test_good_manifests_pass(text):
    manifest_text.check_grammar(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f". {FOO} 0:3:foo", "newline"),
        ("\n", "line 1: invalid stream name"),
        (f". {FOO} 0:3:foo\n\n", "line 2: invalid stream name"),
        (f"a {FOO} 0:3:foo\n", "invalid stream name 'a'"),
        (f"/a {FOO} 0:3:foo\n", "stream name"),
        (f"./ {FOO} 0:3:foo\n", "stream name"),
        (f"./a/ {FOO} 0:3:foo\n", "stream name"),
        (f"./a//b {FOO} 0:3:foo\n", "stream name"),
        (f"./. {FOO} 0:3:foo\n", "stream name"),
        (f"./a/../b {FOO} 0:3:foo\n", "stream name"),
        (f"./\\056\\056/b {FOO} 0:3:foo\n", "stream name"),
        (f"./a\\057\\057b {FOO} 0:3:foo\n", "stream name"),
        (f".. {FOO} 0:3:foo\n", "stream name"),
        (". 0:3:foo\n", "no block locator"),
        (f". {FOO}\n", "no file token"),
        (".\n", "invalid locator"),
        (f".  {FOO} 0:3:foo\n", "invalid locator ''"),
        (f". {FOO}  0:3:foo\n", "invalid locator ''"),
        (f". {FOO} 0:3:foo \n", "invalid file token ''"),
        (f". {FOO}\t0:3:foo\n", "locator"),
        (f". {FOO[:32]} 0:3:foo\n", "locator"),
        (f". {FOO.upper()} 0:3:foo\n", "locator"),
        (f". {FOO}+zlower 0:3:foo\n", "locator"),
        (f". {FOO}+3 0:3:foo\n", "locator"),
        (f". {FOO[1:]} 0:3:foo\n", "locator"),
        (f". {FOO} 0:3:foo {FOO} 0:3:bar\n", "invalid file token 'acbd"),
        (f". {FOO} 0:3:\n", "invalid file token '0:3:'"),
        (f". {FOO} 0:3:/foo\n", "file token"),
        (f". {FOO} 0:3:foo/\n", "file token"),
        (f". {FOO} 0:3:a//b\n", "file token"),
        (f". {FOO} 0:3:.\n", "file token"),
        (f". {FOO} 0:3:..\n", "file token"),
        (f". {FOO} 0:3:../foo\n", "file token"),
        (f". {FOO} 0:3:a/./b\n", "file token"),
        (f". {FOO} 0:3:a/\\056\n", "file token"),
        (f". {FOO} 0:3:\\056\\056\n", "file token"),
        (f". {FOO} 0:3:a\\057\n", "file token"),
        (f". {FOO} 0:0:sub/\\056\n", "file token"),
        (f". {FOO} -1:3:foo\n", "locator"),
        (f". {FOO} 0:3:foo 0:-3:foo\n", "file token"),
        (f". {FOO} 0:3:back\\slash\n", "file token"),
        (f". {FOO} 0:3:\\\\\n", "file token"),
        (f". {FOO} 0:3:\\477\n", "file token"),
        (f". {FOO} 0:3:\\56\n", "file token"),
        (f". {FOO} 0:3:a\tb\n", "file token"),
        (f". {FOO} 0:3:foo\r\n", "file token"),
        (f". {FOO} 0:3:foo\0\n", "file token"),
    ],
)
def test_bad_manifests_are_refused_with_line_and_token(text, said):
    with pytest.raises(ManifestInvalid) as caught:
        manifest_text.check_grammar(text)
    assert said in str(caught.value)


def test_refusal_shows_no_signature():
    with pytest.raises(ManifestInvalid) as caught:
        manifest_text.check_grammar(f". {FOO}{SIGNATURE}+bad 0:3:foo\n")
    assert SIGNATURE not in str(caught.value)


def test_signatures_are_removed_and_other_hints_stay():
    name = f"0:3:{FOO}{SIGNATURE}"  # a file may have such a name
    text = f". {FOO}+Za{SIGNATURE}+Zb {BAR}{SIGNATURE} {name}\n"
    assert manifest_text.without_signatures(text) == f". {FOO}+Za+Zb {BAR} {name}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "d41d8cd98f00b204e9800998ecf8427e+0"),
        (f". {FOO} 0:3:foo\n", "1f4b0bc7583c2a7f9102c395f4ffc5e3+45"),
        (f". {FOO}+Zhint{SIGNATURE} 0:3:foo\n", "1f4b0bc7583c2a7f9102c395f4ffc5e3+45"),
        (
            f". {FOO} 0:3:my\\040file 3:0:empty\n./d {EMPTY} 0:0:\\056\n",
            "f7a506652a6d79cdc5117fcf8861d248+110",
        ),
    ],
)
def test_portable_data_hash(text, expected):
    lines = manifest_text.lines_of(text)
    assert manifest_text.portable_data_hash(text, lines) == expected


def test_every_locator_is_signed_and_nothing_else_changes():
    signer = BlobSigner(b"key", 3600)
    text = f". {FOO} {BAR}+Zhint 0:6:x\n./d {FOO} 0:3:y\n./e {EMPTY} 0:0:\\056\n"
    signed = manifest_text.signed(text, signer, "token", 0x70000000)
    locators = manifest_text.locators(signed)
    assert len(locators) == 3
    for locator in locators:
        signer.verify(locator, "token", 0)
    assert manifest_text.without_signatures(signed) == text


def test_locators_are_distinct_and_whole():
    text = f". {FOO}{SIGNATURE} {FOO} 0:3:x\n./d {FOO} 0:3:y\n"
    assert manifest_text.locators(text) == {FOO + SIGNATURE, FOO}


def test_contents_count_files_not_tokens():
    text = f". {FOO} {BAR} 0:3:a 3:3:a 0:6:d/b\n./d {FOO} 0:1:b 0:0:c\n"
    assert manifest_text.contents(text)[:2] == (3, 13)


def test_placeholders_of_empty_directories_are_no_files():
    text = f"./d {EMPTY} 0:0:\\056\n./e {EMPTY} 0:0:.\n. {FOO} 0:3:f.\n"
    found = manifest_text.contents(text)
    assert found[:2] == (1, 3)
    assert found.names.splitlines() == ["f.", "d", "e"]


def test_names_are_listed_with_plain_spaces():
    found = manifest_text.contents(f"./a\\040b/c {FOO} 0:3:d\\040e\n")
    assert found.names.splitlines() == ["d e", "a b/c"]


def test_a_large_manifest_is_one_like_any_other():
    """100,000 files in a line, 100,000 blocks in another: no limit, no recursion."""
    hashes = [hashlib.md5(b"%d" % number).hexdigest() for number in range(100_000)]
    blocks = " ".join(f"{block_hash}+1" for block_hash in hashes)
    files = " ".join(f"{number}:1:file\\040{number}" for number in range(100_000))
    text = f". {blocks} {files}\n"
    manifest_text.check_grammar(text)
    assert manifest_text.contents(text)[:2] == (100_000, 100_000)
    assert len(manifest_text.locators(text)) == 100_000
    with pytest.raises(ManifestInvalid, match="'x'"):
        manifest_text.check_grammar(text[:-1] + " x\n")


_NAMES = st.sampled_from(["a", "b", "c", "d/a", "d/b", "with\\040space", "e\\057a"])
_STREAMS = st.sampled_from([".", "./d", "./e", "./d/e"])
_LINES = st.lists(
    st.tuples(_STREAMS, st.lists(_NAMES, min_size=1, max_size=3)), min_size=0, max_size=5
)


def _text(lines):
    """A manifest in which most lines never change."""
    tail = "".join(
        f"./large{n} {FOO} {' '.join(f'0:3:{file}' for file in range(40))}\n" for n in range(4)
    )
    head = (f"{s} {FOO} {' '.join(f'0:{len(n)}:{n}' for n in names)}\n" for s, names in lines)
    return "".join(head) + tail


def _contents_after(known, old, new):
    """What is found in the new manifest, from what is known of the old one."""
    old_lines, new_lines = manifest_text.lines_of(old), manifest_text.lines_of(new)
    changed = manifest_text.changed_lines(old_lines, new_lines)
    return manifest_text.contents_after(known, old_lines, new_lines, changed)


@given(_LINES, _LINES)
@example([(".", ["d/a"])], [(".", ["d/a"]), ("./d", ["a"])])
@example([(".", ["a"])], [(".", ["a"]), (".", ["a"])])
def test_contents_after_a_change_are_those_of_the_new_manifest(before, after):
    """They are found from what has changed, where that is possible."""
    old, new = _text(before), _text(after)
    found = _contents_after(manifest_text.contents(old), old, new)
    expected = manifest_text.contents(new)
    assert found[:2] == expected[:2]
    assert set(found.names.split("\n")) == set(expected.names.split("\n"))


def test_contents_after_a_small_change_come_from_the_change():
    """What is known of the rest is believed, not counted again."""
    old = _text([(".", ["a"])])
    known = manifest_text.contents(old)._replace(file_count=1000)
    assert _contents_after(known, old, _text([(".", ["a", "b"])])).file_count == 1001
