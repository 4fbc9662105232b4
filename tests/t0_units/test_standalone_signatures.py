"""Permission signatures on block locators."""

import pytest

from arvados_fuse.standalone.signatures import BlobSigner, SignatureExpired, SignatureInvalid

KEY = b"example-blob-signing-key-for-tests-only"
HASH = "acbd18db4cc2f85cedef654fccc4a4d8"
TOKEN = "v2/zzzzz-gj3su-0123456789abcde/3kg6k6lzmp9kj5cpkcoxie963cmvjahbt2fod9zru30k1jqdmi"
EXPIRY_S = 0x70000000
TTL_S = 1209600

signer = BlobSigner(KEY, TTL_S)


def test_known_signature():
    expected = "+Aa85dd846ed9092a96c1267ff91e54bf433d40ac6@70000000"
    assert signer.hint(HASH, TOKEN, EXPIRY_S) == expected


def test_expiry_is_padded_to_eight_digits():
    assert signer.hint(HASH, TOKEN, 0x1234).endswith("@00001234")


@pytest.mark.parametrize("around", ["{}+3{}", "{}+3+Zother{}", "{}+3{}+Zother"])
def test_good_signature_is_found_anywhere_among_the_hints(around):
    locator = around.format(HASH, signer.hint(HASH, TOKEN, EXPIRY_S))
    signer.verify(locator, TOKEN, EXPIRY_S)


def test_signature_expires():
    locator = f"{HASH}+3{signer.hint(HASH, TOKEN, EXPIRY_S)}"
    with pytest.raises(SignatureExpired):
        signer.verify(locator, TOKEN, EXPIRY_S + 1)


@pytest.mark.parametrize(
    ("signing", "token", "block_hash"),
    [
        (BlobSigner(b"other key", TTL_S), TOKEN, HASH),
        (BlobSigner(KEY, TTL_S + 1), TOKEN, HASH),
        (signer, TOKEN.rpartition("/")[2], HASH),
        (signer, TOKEN, HASH[::-1]),
    ],
    ids=["key", "ttl", "v1 form of the token", "block"],
)
def test_signature_is_bound_to_key_ttl_token_and_block(signing, token, block_hash):
    locator = f"{HASH}+3{signing.hint(block_hash, token, EXPIRY_S)}"
    with pytest.raises(SignatureInvalid):
        signer.verify(locator, TOKEN, 0)


@pytest.mark.parametrize("hint", ["", "+A", "+A123@70000000", "+R" + "0" * 40 + "@70000000"])
def test_missing_or_malformed_signature_is_invalid(hint):
    with pytest.raises(SignatureInvalid):
        signer.verify(f"{HASH}+3{hint}", TOKEN, 0)
