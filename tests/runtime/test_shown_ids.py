"""Ids as logs show them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbic.runtime.logs import shown_id
from limbic.runtime.validate import identifier_or_new

OWNER = "k.abcdefgh234567ab."


@pytest.mark.parametrize("prefix", ["s", "t"])
def test_ids_that_we_make_stand_as_they_are(prefix: str) -> None:
    made = identifier_or_new("id", "", prefix)
    content = "c.0123456789abcdef0123456789abcdef.0123456789abcdef"

    assert shown_id(made) == made
    assert shown_id(content) == content
    assert shown_id(OWNER + made) == OWNER + made
    assert shown_id("") == ""


@given(st.text("abcdefghijklmnopqrstuvwxyzABC019._:-", min_size=1, max_size=60))
def test_ids_that_a_client_chose_are_hashed_and_always_alike(name: str) -> None:
    shown = shown_id(name)

    assert shown == shown_id(name)
    assert shown.startswith("#")
    assert len(shown) == 25
    assert shown_id(OWNER + name) == OWNER + shown


@pytest.mark.skipif(shutil.which("b2sum") is None, reason="coreutils are not there")
def test_the_hash_is_the_one_that_the_documents_say() -> None:
    done = subprocess.run(["b2sum", "-l", "96"], input=b"ada@example.org", capture_output=True, check=True)

    assert shown_id("ada@example.org") == f"#{done.stdout.split()[0].decode()}"
    assert done.stdout.split()[0].decode() == hashlib.blake2b(b"ada@example.org", digest_size=12).hexdigest()
