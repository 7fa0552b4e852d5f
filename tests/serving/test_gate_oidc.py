"""Web tokens: what an issuer signed is admitted, and nothing that only looks like it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from tests.serving.gates import ADMIN, READER, WRITER, Realm, config, until
from tests.serving.issuers import AUDIENCE, Issuer, Key, unsigned
from tiffin.errors import InvalidConfig, StorageError, Unauthenticated, Unavailable
from tiffin.registry.access import Principal
from tiffin.serving.access import keys as key_module
from tiffin.serving.access.gate import open_gate
from tiffin.serving.access.guarded import GuardedGate
from tiffin.serving.access.kept import KeptFile
from tiffin.serving.access.keys import KeySet
from tiffin.serving.access.oidc import WebTokens, open_web_tokens
from tiffin.workspace import Workspace

RSA = Key("rsa", "RS256")
EC = Key("ec", "ES256")
ED = Key("ed", "EdDSA")
STRANGER = Key("rsa", "RS256")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    issuer.keys = [RSA.jwk(), EC.jwk(), ED.jwk()]
    yield issuer
    issuer.close()


def opened(issuer: Issuer, folder: Path, **options: Any) -> WebTokens:
    """The web tokens of an issuer, its keys fetched."""
    given = {"auth": "oidc", "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE} | options
    tokens = open_web_tokens(config(folder, **given), None)
    tokens.keys.refresh()
    return tokens


@pytest.fixture
def tokens(issuer: Issuer, tmp_path: Path) -> WebTokens:
    return opened(issuer, tmp_path)


def refused(tokens: WebTokens, text: str) -> None:
    with pytest.raises(Unauthenticated, match="not valid") as caught:
        tokens.find(text)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# What is admitted


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=lambda key: key.algorithm)
def test_what_the_issuer_signed_names_a_principal(tokens: WebTokens, issuer: Issuer, key: Key) -> None:
    assert tokens.find(key.sign(issuer.claims())) == (Principal("oidc:ann", {"rides": WRITER}), "")


def test_a_token_without_a_key_name_is_of_the_only_key_that_fits(tokens: WebTokens, issuer: Issuer) -> None:
    text = jwt.encode(issuer.claims(), RSA.private, algorithm="RS256")
    assert tokens.find(text)[0].name == "oidc:ann"
    issuer.keys.append(Key("second", "RS256").jwk())
    try:
        again = WebTokens(tokens._terms, KeySet(issuer.url, ""))
        again.keys.refresh()
        refused(again, text)
    finally:
        issuer.keys.pop()


def test_one_of_several_audiences_is_enough(tokens: WebTokens, issuer: Issuer) -> None:
    assert tokens.find(RSA.sign(issuer.claims(aud=["other", AUDIENCE])))[1] == ""
    refused(tokens, RSA.sign(issuer.claims(aud=["other"])))


def test_clocks_may_differ_by_the_leeway(tokens: WebTokens, issuer: Issuer) -> None:
    now = int(time.time())
    near = issuer.claims(iat=now + 20, nbf=now + 20, exp=now - 20)
    assert tokens.find(RSA.sign(near))[1] == ""
    assert tokens.find(RSA.sign(issuer.claims(exp=now - 31)))[1] == "expired"
    refused(tokens, RSA.sign(issuer.claims(nbf=now + 45)))
    refused(tokens, RSA.sign(issuer.claims(iat=now + 45)))


def test_a_token_that_is_remembered_ends_on_time(issuer: Issuer, tmp_path: Path) -> None:
    tokens = opened(issuer, tmp_path, oidc_leeway="0")
    text = RSA.sign(issuer.claims(exp=time.time() + 1.0))
    assert tokens.find(text)[1] == ""
    until(lambda: tokens.find(text)[1] == "expired", 3)


# Roles


def test_roles_come_from_the_claim_and_from_groups(issuer: Issuer, tmp_path: Path) -> None:
    groups = {"staff": {"*": "reader", "rides": "reader"}, "ops": {"food": "admin"}}
    tokens = opened(issuer, tmp_path, oidc_group_roles=json.dumps(groups), oidc_name_claim="email")
    claims = issuer.claims(groups=["staff", "ops", "unknown", 5, None], email="ann@example.com")
    found = tokens.find(RSA.sign(claims))[0]
    assert found == Principal("oidc:ann@example.com", {"*": READER, "rides": WRITER, "food": ADMIN})
    assert tokens.find(RSA.sign(issuer.claims(email="b", groups="staff")))[0].roles == {"rides": WRITER}
    refused(tokens, RSA.sign(issuer.claims()))  # no such name


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "admin",
        ["rides"],
        {"rides": "owner"},
        {"rides": 3},
        {"rides": None},
        {"rides": ["admin"]},
        {"": "admin"},
        {" * ": "admin"},
        {"\uff0a": "admin"},
        {"ri\u0500des": "admin"},
        {"rides ": "admin"},
        {"../rides": "admin"},
    ],
    ids=repr,
)
def test_what_is_no_role_gives_none(tokens: WebTokens, issuer: Issuer, claim: object) -> None:
    assert tokens.find(RSA.sign(issuer.claims(tiffin_roles=claim)))[0].roles == {}


@pytest.mark.parametrize("sub", ["", "a\nb", "a\x00b", "\u202eadmin", 5, ["ann"]], ids=repr)
def test_names_that_could_deceive_are_refused(tokens: WebTokens, issuer: Issuer, sub: Any) -> None:
    claims = issuer.claims()
    claims["sub"] = sub
    header = {"alg": "EdDSA", "kid": "ed", "typ": "JWT"}
    signed = unsigned(header, claims).rsplit(".", 1)[0]
    signature = base64.urlsafe_b64encode(ED.private.sign(signed.encode())).decode().rstrip("=")
    refused(tokens, f"{signed}.{signature}")


# What is refused


@pytest.mark.parametrize(
    "more",
    [
        {"iss": "https://other"},
        {"iss": None},
        {"iss": ["a"]},
        {"aud": "other"},
        {"aud": None},
        {"aud": ""},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": [1]},
        {"nbf": "never"},
        {"sub": None},
    ],
    ids=repr,
)
def test_every_claim_must_fit(tokens: WebTokens, issuer: Issuer, more: dict[str, Any]) -> None:
    claims = issuer.claims(**more)
    header = {"alg": "EdDSA", "kid": "ed"}
    signed = unsigned(header, claims).rsplit(".", 1)[0]
    signature = base64.urlsafe_b64encode(ED.private.sign(signed.encode())).decode().rstrip("=")
    refused(tokens, f"{signed}.{signature}")


def test_a_strangers_key_of_the_same_name_opens_nothing(tokens: WebTokens, issuer: Issuer) -> None:
    refused(tokens, STRANGER.sign(issuer.claims()))
    for name in ("jwk", "jku", "x5u", "x5c"):
        value: Any = {"jwk": STRANGER.jwk(), "x5c": ["MII"]}.get(name, f"{issuer.url}/evil")
        refused(tokens, STRANGER.sign(issuer.claims(), **{name: value}))


def test_no_algorithm_is_no_signature(tokens: WebTokens, issuer: Issuer) -> None:
    for alg in ("none", "None", "NONE", "nOnE", "", None, 5, ["RS256"]):
        for signature in (b"", b"x"):
            refused(tokens, unsigned({"alg": alg, "kid": "rsa"}, issuer.claims(), signature))
    refused(tokens, unsigned({"kid": "rsa"}, issuer.claims()))


def test_a_public_key_is_no_shared_secret(tokens: WebTokens, issuer: Issuer) -> None:
    """The classic confusion: HMAC with the bytes of the public key, in every form that a library may have them."""
    public = RSA.private.public_key()
    forms = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(RSA.jwk()).encode(),
        b"",
    ]
    for alg, hashed in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        for secret in forms:
            signed = unsigned({"alg": alg, "kid": "rsa"}, issuer.claims()).rsplit(".", 1)[0]
            code = hmac.new(secret, signed.encode(), hashed).digest()
            refused(tokens, f"{signed}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}")


def test_a_key_serves_its_own_algorithms_alone(issuer: Issuer, tmp_path: Path) -> None:
    tokens = opened(issuer, tmp_path, oidc_algorithms="RS256,PS256,ES256,EdDSA")
    for kid in ("rsa", "ec", "ed"):
        for alg in ("RS256", "ES256", "EdDSA", "PS256"):
            refused(tokens, unsigned({"alg": alg, "kid": kid}, issuer.claims(), b"x" * 64))
    only = opened(issuer, tmp_path, oidc_algorithms="EdDSA")
    refused(only, RSA.sign(issuer.claims()))
    assert only.find(ED.sign(issuer.claims()))[1] == ""


@pytest.mark.parametrize(
    "kid",
    ["../../../etc/passwd", "/dev/null", "' OR 1=1 --", "rsa\x00", "RSA", "", "http://127.0.0.1/evil", {}, ["rsa"], 5],
    ids=repr,
)
def test_a_key_name_is_only_ever_compared(tokens: WebTokens, issuer: Issuer, kid: object) -> None:
    refused(tokens, unsigned({"alg": "RS256", "kid": kid}, issuer.claims(), b"x" * 256))


def test_headers_that_must_be_understood_are_not(tokens: WebTokens, issuer: Issuer) -> None:
    refused(tokens, RSA.sign(issuer.claims(), crit=["b64"], b64=False))
    refused(tokens, RSA.sign(issuer.claims(), crit=["exp"]))


def test_a_changed_token_is_another(tokens: WebTokens, issuer: Issuer) -> None:
    text = ED.sign(issuer.claims())
    assert tokens.find(text)[1] == ""
    header, payload, signature = text.split(".")
    richer = unsigned({}, issuer.claims(tiffin_roles={"*": "admin"})).split(".")[1]
    for wrong in (f"{header}.{richer}.{signature}", f"{header}.{payload}.{signature[:-4]}AAAA", f"{header}.{payload}."):
        refused(tokens, wrong)


@given(st.lists(st.text(alphabet="abcXYZ019-_=/+", max_size=30), min_size=3, max_size=3))
def test_no_three_words_are_a_token(words: list[str]) -> None:
    tokens = _known()
    with pytest.raises(Unauthenticated):
        tokens.find(".".join(words))


@pytest.mark.parametrize("nested", ["[" * 5000, '{"a":' * 1000, "1" * 5000, "1e999", '"\\ud800"', "nul", "\xff"])
def test_headers_that_are_hard_to_read_are_refused(nested: str) -> None:
    head = base64.urlsafe_b64encode(nested.encode("latin-1")).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        _known().find(f"{head}.e30.e30")


def _known() -> WebTokens:
    """Web tokens with keys and without an issuer to ask."""
    from tiffin.serving.access.oidc import Terms

    keys = KeySet("https://issuer.example", "https://issuer.example/keys")
    keys._take({}, key_module._read_keys({"keys": [RSA.jwk()]}))
    return WebTokens(Terms("https://issuer.example", "a", ("RS256",), 30, "sub", "roles", "groups", {}), keys)


# Keys


def test_keys_that_cannot_verify_are_left_out(issuer: Issuer, tmp_path: Path) -> None:
    before = issuer.keys
    secret = {"kty": "oct", "kid": "shared", "k": "AAAA", "alg": "HS256"}
    issuer.keys = [
        secret,
        RSA.jwk(kid="enc", use="enc"),
        RSA.jwk(kid="ops", key_ops=["sign"]),
        RSA.jwk(kid="pinned", alg="PS256"),
        Key("short", "RS256", bits=1024).jwk(),
        {"kty": "EC", "kid": "k1", "crv": "secp256k1", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "broken", "n": "?", "e": "AQAB"},
        {"kty": "EC", "kid": "off", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kid": "none"},
        ED.jwk(),
    ]
    try:
        tokens = opened(issuer, tmp_path)
        assert tokens.find(ED.sign(issuer.claims()))[1] == ""
        for kid in ("shared", "enc", "ops", "pinned", "short", "k1", "broken", "off", "none"):
            for alg in ("RS256", "ES256", "HS256"):
                assert tokens.keys.find(kid, alg) is None
    finally:
        issuer.keys = before


def test_a_new_key_is_fetched_when_it_is_first_named(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_module, "UNKNOWN_SECONDS", 0.5)
    realm = Realm(tmp_path)
    tokens = opened(issuer, tmp_path)
    gate = GuardedGate(realm, web_tokens=tokens)
    gate.start()
    before = issuer.keys
    new = Key("new", "EdDSA")
    try:
        time.sleep(0.6)
        asked = issuer.asked
        issuer.keys = [*before, new.jwk()]
        header = f"Bearer {new.sign(issuer.claims())}"
        assert asyncio.run(gate.admit_async(header)).name == "oidc:ann"
        assert issuer.asked == asked + 1
        for _ in range(50):  # a flood of unknown names asks the issuer no more
            with pytest.raises(Unauthenticated):
                gate.admit(f"Bearer {Key('other', 'EdDSA').sign(issuer.claims())}")
        time.sleep(0.2)
        assert issuer.asked <= asked + 2
        issuer.keys = before  # and a key that is withdrawn ends what it signed
        time.sleep(0.6)
        with pytest.raises(Unauthenticated):
            gate.admit("Bearer " + Key("other", "EdDSA").sign(issuer.claims()))
        until(lambda: tokens.keys.find("new", "EdDSA") is None, 3)
        with pytest.raises(Unauthenticated):
            gate.admit(header)
    finally:
        issuer.keys = before
        gate.close()
        realm.end()


def test_keys_are_kept_while_the_issuer_is_away_and_over_a_restart(tmp_path: Path, issuer: Issuer) -> None:
    kept = KeptFile(tmp_path / "keys.json", issuer.url)
    keys = KeySet(issuer.url, "", kept)
    keys.refresh()
    issuer.fails = True
    try:
        keys._fetched = 1.0
        with pytest.raises(Exception, match="500"):
            keys.refresh()
        assert keys.find("rsa", "RS256") is not None
        again = KeySet(issuer.url, "", kept)
        again.recall()
        assert again.find("rsa", "RS256") is not None
        other = KeySet("https://other.example", "", KeptFile(tmp_path / "keys.json", "https://other.example"))
        other.recall()
        assert not other.is_known
    finally:
        issuer.fails = False


def test_before_any_key_is_known_the_service_is_unavailable(issuer: Issuer, tmp_path: Path) -> None:
    given = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    tokens = open_web_tokens(config(tmp_path, **given), None)
    with pytest.raises(Unavailable):
        tokens.find(RSA.sign(issuer.claims()))


def test_keys_may_lie_in_a_file(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [RSA.jwk()]}))
    tokens = opened(issuer, tmp_path, oidc_jwks=str(path))
    assert tokens.find(RSA.sign(issuer.claims()))[1] == ""
    for content in ("no json", '{"keys": 5}', "[]"):
        path.write_text(content)
        with pytest.raises((StorageError, Unavailable)):
            opened(issuer, tmp_path, oidc_jwks=str(path))
    with pytest.raises(StorageError):
        opened(issuer, tmp_path, oidc_jwks=str(tmp_path / "nowhere.json"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("oidc_jwks", "http://issuer.example/keys"),
        ("oidc_issuer", "http://issuer.example"),
        ("oidc_issuer", ""),
        ("oidc_audience", ""),
        ("oidc_algorithms", "none"),
        ("oidc_algorithms", "HS256"),
        ("oidc_algorithms", "RS256,HS256"),
        ("oidc_algorithms", " , "),
        ("oidc_group_roles", "{"),
        ("oidc_group_roles", '{"g": {"rides": "owner"}}'),
        ("oidc_name_claim", ""),
    ],
)
def test_options_that_would_let_anyone_in_are_refused(tmp_path: Path, option: str, value: str) -> None:
    good = {"auth": "oidc", "oidc_issuer": "https://issuer.example", "oidc_audience": "a"}
    options = config(tmp_path, **(good | {option: value}))
    if option == "oidc_name_claim":
        options.set("oidc_name_claim", "")
    with pytest.raises(InvalidConfig) as caught:
        open_gate(options, Workspace(options))
    assert caught.value.field in {option, "oidc_jwks"}


# Together with tokens


def test_both_ways_in(issuer: Issuer, tmp_path: Path) -> None:
    given = {"auth": "tokens,oidc", "oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    options = config(tmp_path, **given)
    workspace = Workspace(options)
    gate = open_gate(options, workspace)
    realm_store = workspace.registry.store  # type: ignore[union-attr]
    from tiffin.registry.tokens import TokenStore

    _, text = TokenStore(realm_store.engine).create("ci", {"default": READER}, by="x")
    gate.start()
    try:
        assert gate.admit(f"Bearer {text}").name == "ci"
        assert gate.admit(f"Bearer {ED.sign(issuer.claims())}").name == "oidc:ann"
        began = time.perf_counter()
        header = f"Bearer {ED.sign(issuer.claims())}"
        for _ in range(1000):
            gate.admit(header)
        assert (time.perf_counter() - began) / 1000 < 50e-6
    finally:
        gate.close()
        workspace.close()


def test_what_is_remembered_is_bounded(tokens: WebTokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiffin.serving.access.oidc._MOST", 10)
    for number in range(30):
        tokens.find(ED.sign(issuer.claims(sub=f"s{number}")))
        with pytest.raises(Unauthenticated):
            tokens.find(f"a.b.{number}")
    assert len(tokens._verified) <= 10
