"""No secret is left in any spelling, nothing else is touched, and what is left anywhere is found."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from runbook_lib.settings.redaction import Redactor, forms
from tests.spellings import MIXED, SPELLINGS, TOKEN

NAME = "OPENROUTER_API_KEY"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=40) | st.text(
    st.sampled_from("aé\"'\\%\n\t<>&/+ $€𝄞"), min_size=8, max_size=20
)


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(secret=SECRET, before=TEXT, after=TEXT)
def test_a_secret_is_gone_and_nothing_else_is(spelling: str, secret: str, before: str, after: str) -> None:
    written = SPELLINGS[spelling](secret)
    # Not where the text around it makes up the secret, or part of it, a second time.
    assume(all(f not in before + after for f in forms(secret).values()))
    assume((before + written + after).count(written) == 1)
    redactor = Redactor({NAME: secret})
    found = redactor.text(before + written + after)
    assert written not in found
    assert list(redactor.hits(found)) == []
    assert len(list(redactor.hits(before + written + after))) >= 1
    if not overlaps(before, after, secret):
        assert found == f"{before}${NAME}{after}"


def overlaps(before: str, after: str, secret: str) -> bool:
    """Whether a character beside the secret may be taken for a part of another spelling of it."""
    return any(c in form for form in forms(secret).values() for c in before[-1:] + after[:1])


@pytest.mark.parametrize("spelling", MIXED)
@example(secret="0000''000000")
@example(secret="pass'\"'word'\"")
@given(secret=TOKEN)
def test_a_secret_written_in_any_mixture_of_escapes_is_gone(spelling: str, secret: str) -> None:
    written = f"before: {MIXED[spelling](secret)} ;after"
    redactor = Redactor({NAME: secret})
    assert list(redactor.hits(written))
    redacted = redactor.text(written)
    assert f"${NAME}" in redacted and list(redactor.hits(redacted)) == []
    assert redacted.startswith("before:") and redacted.endswith(";after")


FLY = "fm2" + "_"  # written in parts: no tracked file may look as if it held a token
SENT = [
    f"FlyV1 {FLY}first-token",
    f"Bearer {FLY}first-token",
    f"{FLY}first-token,{FLY}second-token",
    f"FlyV1 {FLY}a-token,{FLY}b-token",
]


@pytest.mark.parametrize("pasted", SENT)
@pytest.mark.parametrize("write", [str, lambda s: s.encode().hex(), lambda s: base64.b64encode(s.encode()).decode()])
def test_what_of_a_token_is_sent_is_gone_too(pasted: str, write: Callable[[str], str]) -> None:
    """Read with its scheme, or as one of a list; sent without, or alone."""
    redactor = Redactor({NAME: pasted})
    for sent in pasted.removeprefix("FlyV1 ").removeprefix("Bearer ").split(","):
        assert f"${NAME}" in redactor.text(f"authorization: {write(sent)}")
        assert sent not in redactor.text(f"authorization: {sent}")


@pytest.mark.parametrize("write", [str, str.lower, str.upper, lambda s: s[2:], lambda s: s[2:].upper()])
def test_a_key_in_hex_is_gone_however_it_is_written(write: Callable[[str], str]) -> None:
    key = "0x" + "aB3" * 21 + "f"
    assert Redactor({NAME: key}).text(f"<{write(key)}>") in (f"<${NAME}>", f"<0x${NAME}>", f"<0X${NAME}>")


def test_a_word_of_ordinary_text_is_no_secret_for_having_a_token_s_beginning() -> None:
    assert Redactor({NAME: "Bearer abc"}).text("abc, Bearer of news") == "abc, Bearer of news"


@given(secret=SECRET, before=st.binary(max_size=7), after=st.binary(max_size=7), safe=st.booleans())
def test_a_secret_inside_base64_is_gone_at_every_alignment(
    secret: str, before: bytes, after: bytes, safe: bool
) -> None:
    encode = base64.urlsafe_b64encode if safe else base64.b64encode
    written = encode(before + secret.encode() + after).decode()
    redactor = Redactor({NAME: secret})
    found = redactor.text(written)
    kept = found.replace(f"${NAME}", "")
    assert f"${NAME}" in found
    # At most two characters are left of the secret's own: each shares its bits with a neighbour.
    assert len(kept.rstrip("=")) <= len(encode(before).rstrip(b"=")) + len(encode(after).rstrip(b"=")) + 2


@given(st.binary(max_size=90), st.binary(min_size=60, max_size=90))
def test_a_long_secret_in_base64_of_many_lines_is_gone(before: bytes, secret: bytes) -> None:
    value = secret.hex()
    redactor = Redactor({"TOKEN": value})
    encoded = base64.encodebytes(before + value.encode() + b"tail").decode()

    assert {form[:7] for _, form, _ in redactor.hits(encoded)} == {"base64+"}
    assert "$TOKEN" in redactor.text(encoded)
    assert list(redactor.hits(redactor.text(encoded))) == []


@given(TEXT, SECRET)
def test_a_text_without_the_secret_stays_as_it_is(text: str, secret: str) -> None:
    assume(all(form not in text for form in forms(secret).values()))
    assert Redactor({NAME: secret}).text(text) == text
    assert Redactor({}).text(text) == text


@given(SECRET, SECRET)
def test_of_two_secrets_the_one_that_holds_the_other_goes_as_a_whole(inner: str, rest: str) -> None:
    outer = inner + rest
    redactor = Redactor({"INNER": inner, "OUTER": outer})
    for write in (str, lambda s: s.encode().hex(), lambda s: json.dumps(s)[1:-1]):
        assert redactor.text(write(outer)) == "$OUTER"
        assert redactor.text(write(inner)) == "$INNER"


@given(SECRET)
def test_every_spelling_is_told_with_its_form_and_place(secret: str) -> None:
    redactor = Redactor({NAME: secret})
    for form, text in forms(secret).items():
        hits = [hit for hit in redactor.hits(f"{'.' * 3}{text}") if text.startswith(forms(secret)[hit[1]])]
        assert hits, form
        assert {hit[0] for hit in hits} == {NAME}


def test_a_hit_says_which_secret_in_which_form_and_where() -> None:
    redactor = Redactor({"A": "aaaa-secret", "B": "bbbb-secret"})
    assert list(redactor.hits("x bbbb-secret " + b"aaaa-secret".hex())) == [("A", "hex", 14), ("B", "plain", 2)]


def test_values_are_redacted_wherever_they_stand() -> None:
    secret = 'a"b\\secret'
    facts: dict[str, Any] = {"a": [secret, 1, None, {secret: (secret, True)}], "b": 1.5}
    assert Redactor({NAME: secret}).value(facts) == {
        "a": [f"${NAME}", 1, None, {f"${NAME}": [f"${NAME}", True]}],
        "b": 1.5,
    }


@given(
    st.recursive(SECRET | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(SECRET, inner), max_leaves=5)
)
def test_no_secret_of_a_structure_reaches_its_json(facts: Any) -> None:
    secret = "canary-7f3a'\"\\é"
    redactor = Redactor({NAME: secret})
    around = {"a": facts, secret: [secret, f"x{secret}y"], "j": json.dumps({"k": secret})}
    assert list(redactor.hits(json.dumps(redactor.value(around)))) == []
    assert list(redactor.hits(repr(redactor.value(around)))) == []


def test_an_environment_value_that_is_no_unicode_is_redacted_too() -> None:
    secret = b"secret-\xff\xfe-bytes".decode(errors="surrogateescape")
    assert Redactor({NAME: secret}).text(f"<{secret}>") == f"<${NAME}>"


def test_no_secret_and_an_empty_one_redact_nothing() -> None:
    assert Redactor({"EMPTY": ""}).text("anything") == "anything"


def test_many_secrets_in_a_large_text_are_all_found() -> None:
    secrets = {f"NAME_{n}": f"secret-number-{n:04}" for n in range(20)}
    large = ("plain text " * 50_000) + " ".join(secrets.values())
    found = Redactor(secrets).text(large)
    assert found.endswith(" ".join(f"${name}" for name in secrets))
