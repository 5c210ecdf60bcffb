"""The stand-alone verifier: what the product writes passes, and whatever was done to it since is named."""

from __future__ import annotations

import base64
import copy
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from libs.common import proof, seal
from libs.common.change import Change, Fact, Head
from libs.common.clock import Clock, Moment, Trace
from libs.common.contracts import cases as said
from libs.common.contracts.notify import NoticeReceived
from libs.common.permit import Actor
from libs.common.seal import SEALS, Seal, encoded
from tools import verify

TOWNSHIP, DEPARTMENT = "11331221000000092K", "113312210000000217"
CASE = "019a0000-0000-7000-8000-000000000001"
STREAM = f"case/{CASE}"

#: The order of the group: S and S + ORDER are the same scalar, and only the first is canonical.
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19


@pytest.fixture(scope="module")
def own() -> Seal:
    """The key of the installation."""
    return Seal(Ed25519PrivateKey.generate())


def facts(territory: str = "331221103") -> tuple[Fact, ...]:
    """The journal of a case that is offered and accepted."""
    at, by = Moment(Clock().now(), Trace("request-1")), Actor("zhang", TOWNSHIP)
    parts = {"case": CASE, "transfer": f"{CASE}.t1", "from_agency": TOWNSHIP, "to_agency": DEPARTMENT}
    clue = said.ClueRegistered(
        case=CASE,
        holder=TOWNSHIP,
        power="000219901000",
        territory=territory,
        clue_source="patrol",
        urgency="normal",
    )
    change = Change().telling(
        clue, on=Head("case", CASE), by=by, at=at, private={"summary": "河道内堆放渣土"}
    )
    for event in (
        said.TransferOffered(
            **parts, power="000219901000", territory=territory, stage="registered", urgency="normal"
        ),
        said.TransferAccepted(**parts),
        said.InvestigationOpened(case=CASE, holder=DEPARTMENT),
    ):
        change = change.telling(event, on=Head("case", CASE), by=by, at=at)
    return change.facts


def a_bundle(
    journal: tuple[Fact, ...], key: Seal, receipts: tuple[dict[str, Any], ...] = ()
) -> dict[str, Any]:
    """What `cases` answers when it is asked for a proof."""
    last = journal[-1]
    head = {"stream": STREAM, "seq": last.seq, "digest": last.digest.hex(), "at": "2026-11-24T09:30:00+00:00"}
    return {
        "format": "liandong-proof-1",
        "stream": STREAM,
        "entries": [
            {
                "public": fact.public.decode(),
                "private_digest": proof.private_digest(fact.salt, fact.private).hex(),
                "record": {"salt": fact.salt.hex(), "private": fact.private.decode()},
                "digest": fact.digest.hex(),
            }
            for fact in journal
        ],
        "head": head,
        "signature": {"key": key.key_id, "value": encoded(key.sign(proof.canonical(head)))},
        "keys": {"keys": [key.jwk(SEALS)]},
        "receipts": list(receipts),
    }


def a_receipt(fact: Fact, key: Seal) -> dict[str, Any]:
    """The department's signature for one event of the case."""
    unsigned = NoticeReceived(
        notice="n1",
        receipt="r1",
        agency=DEPARTMENT,
        event=f"{STREAM}/{fact.seq}",
        about=STREAM,
        event_chain=fact.digest.hex(),
        notice_digest="ab" * 32,
        signed_at="2026-11-24T09:31:00.000000+00:00",
        key=key.key_id,
        signature="",
    )
    signature = encoded(key.sign(proof.canonical(unsigned.signed())))
    return unsigned.model_copy(update={"signature": signature}).proof()


def a_witness(fact: Fact) -> dict[str, Any]:
    """What another service answers when it is asked which head it saw."""
    return {"source": "cases", "stream": STREAM, "seq": fact.seq, "digest": fact.digest.hex()}


def checked(bundle: Any, **known: Any) -> verify.Report:
    return verify.check(json.dumps(bundle, ensure_ascii=False, separators=(",", ":")).encode(), **known)


def first_misfit(bundle: Any, **known: Any) -> verify.Misfit:
    """What the report names first."""
    found = [finding.misfit for finding in checked(bundle, **known).findings if finding.misfit]
    assert found, "everything fits"
    return found[0]


def test_signatures_are_judged_as_the_library_judges_them() -> None:
    chance = random.Random(8032)
    for _ in range(60):
        key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), chance.randbytes(chance.randrange(200))
        signature = key.sign(message)
        assert verify.is_genuine(public, signature, message)
        for part in range(3):
            parts = [bytearray(public), bytearray(signature), bytearray(message or b"x")]
            parts[part][chance.randrange(len(parts[part]))] ^= 1 << chance.randrange(8)
            changed = tuple(map(bytes, parts))
            assert verify.is_genuine(*changed) == seal.is_genuine(*changed)


def test_a_scalar_that_is_not_reduced_is_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    signature = key.sign(b"m")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    other = signature[:32] + scalar.to_bytes(32, "little")
    assert not verify.is_genuine(key.public_key().public_bytes_raw(), other, b"m")


@pytest.mark.parametrize(
    "public",
    [
        b"",
        bytes(31),
        bytes(33),
        (2).to_bytes(32, "little"),  # no point has this y
        (P + 3).to_bytes(32, "little"),  # 3, written another way
        ((1 << 255) + 1).to_bytes(32, "little"),  # x = 0 with the sign of a negative
        (1).to_bytes(32, "little"),  # the neutral element: anybody can sign under it
        (P - 1).to_bytes(32, "little"),  # order 2
        (0).to_bytes(32, "little"),  # order 4
    ],
)
def test_what_is_no_public_key_signs_nothing(public: bytes) -> None:
    neutral = (1).to_bytes(32, "little")
    assert not verify.is_genuine(public, neutral + bytes(32), b"m")


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int, own: Seal) -> None:
    assert not verify.is_genuine(own.public, bytes(length), b"m")


def test_points_that_are_not_on_the_curve_are_refused_as_the_library_refuses_them() -> None:
    chance = random.Random(25519)
    for _ in range(60):
        public = chance.randrange(P).to_bytes(32, "little")
        signature = chance.randbytes(63) + b"\x00"
        assert verify.is_genuine(public, signature, b"m") == seal.is_genuine(public, signature, b"m") is False


def test_a_proof_of_ours_holds(own: Seal) -> None:
    journal = facts()
    report = checked(
        a_bundle(journal, own, (a_receipt(journal[1], own),)),
        trusted={own.key_id: own.public},
        witnesses=[a_witness(journal[3])],
    )
    assert report.holds
    assert [finding.check for finding in report.findings] == [
        "chain",
        "head",
        "signature",
        "receipt",
        "witness",
    ]
    assert report.notes == []


def test_a_key_that_came_with_the_file_is_said_to_have_come_with_it(own: Seal) -> None:
    report = checked(a_bundle(facts(), own))
    assert report.holds
    assert "公钥取自文件本身" in verify.told(report)


def test_the_private_part_may_be_missing(own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    for entry in bundle["entries"][:3]:
        del entry["record"]
    assert "其中 1 条附有内部记录" in verify.told(checked(bundle))


def test_one_byte_changed_anywhere_is_found_and_its_entry_named(own: Seal) -> None:
    journal = facts()
    raw = json.dumps(a_bundle(journal, own, (a_receipt(journal[1], own),)), ensure_ascii=False).encode()
    entries = [json.dumps(e, ensure_ascii=False).encode() for e in json.loads(raw)["entries"]]
    spans = [(raw.index(entry), raw.index(entry) + len(entry)) for entry in entries]
    chance = random.Random(1)
    for _ in range(500):
        place = chance.randrange(len(raw))
        changed = bytearray(raw)
        changed[place] ^= chance.randrange(1, 256)
        entry = next((n for n, (start, end) in enumerate(spans, 1) if start <= place < end), None)
        verdict = _verdict(bytes(changed))
        if verdict is None:
            assert json.loads(changed) == json.loads(raw), f"byte {place} was changed and everything fits"
        elif entry is not None:
            assert f"第 {entry} 条" in verdict, verdict


@pytest.mark.parametrize(
    "spoilt", ['"digest": 2e3', '"digest": NaN', '"digest": 1, "digest"', '"digest": "\x01']
)
def test_where_a_proof_cannot_be_read_the_entry_is_named(spoilt: str, own: Seal) -> None:
    """A quotation mark that was lost may leave a number behind."""
    entries = json.dumps(a_bundle(facts(), own)).split('"digest": "')
    broken = '"digest": "'.join(entries[:3]) + spoilt + '"digest": "'.join(entries[3:])
    verdict = _verdict(broken.encode())
    assert verdict
    assert "断在第 3 条" in verdict


def _verdict(raw: bytes) -> str | None:
    """What is wrong, in words; None if nothing is."""
    try:
        report = verify.check(raw)
    except verify.Unreadable as why:
        return str(why)
    return None if report.holds else verify.told(report)


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        (lambda entries: entries.pop(0), 1),
        (lambda entries: entries.pop(2), 3),
        (lambda entries: entries.pop(), 3),
        (lambda entries: entries.insert(1, copy.deepcopy(entries[0])), 2),
        (lambda entries: entries.append(copy.deepcopy(entries[-1])), 5),
        (lambda entries: entries.reverse(), 1),
        (lambda entries: entries.insert(1, entries.pop(2)), 2),
        (lambda entries: entries[1].update(digest=entries[0]["digest"]), 2),
        (lambda entries: entries[3]["record"].update(private='{"agency":"x","person":"y"}'), 4),
        (lambda entries: entries[0].update(note="x"), 1),
        (lambda entries: entries[0].update(public=entries[0]["public"].replace(":", ": ", 1)), 1),
        (lambda entries: entries.__setitem__(2, None), 3),
    ],
)
def test_whatever_is_done_to_the_entries_is_named(
    change: Callable[[list[Any]], object], entry: int, own: Seal
) -> None:
    bundle = a_bundle(facts(), own)
    change(bundle["entries"])
    assert first_misfit(bundle).entry == entry


def test_a_proof_cut_short_with_its_head_is_caught_by_who_saw_more(own: Seal) -> None:
    journal = facts()
    short = a_bundle(journal[:2], own)
    assert checked(short).holds
    assert first_misfit(short, witnesses=[a_witness(journal[3])]).entry == 2
    assert first_misfit(a_bundle(journal[:2], own, (a_receipt(journal[2], own),))).entry == 2


def test_a_chain_computed_anew_cannot_meet_what_others_saw(own: Seal) -> None:
    genuine, thief = facts(), Seal(Ed25519PrivateKey.generate())
    forged = a_bundle(facts(territory="331221999"), thief)
    assert checked(forged).holds  # by itself it is as good as any
    assert first_misfit(forged, witnesses=[a_witness(genuine[2])]).entry == 3
    assert first_misfit(forged, trusted={own.key_id: own.public}).code == "unknown-key"


def test_a_receipt_within_a_proof_is_a_witness_too(own: Seal) -> None:
    bundle = a_bundle(facts(territory="331221999"), own, (a_receipt(facts()[1], own),))
    assert first_misfit(bundle).entry == 2


@pytest.mark.parametrize("name", ["agency", "event", "event_chain", "notice_digest", "signed_at"])
def test_a_receipt_that_was_altered_does_not_hold(name: str, own: Seal) -> None:
    document = {**a_receipt(facts()[1], own), "keys": {"keys": [own.jwk(SEALS)]}}
    assert checked(document).holds
    document["receipt"][name] = document["receipt"][name][:-1] + "0z"
    assert first_misfit(document).code == "signature"


def test_a_receipt_of_another_case_does_not_belong_into_a_proof(own: Seal) -> None:
    journal = facts()
    receipt = a_receipt(journal[1], own)
    receipt["receipt"]["about"] = "case/another"
    receipt["signature"]["value"] = encoded(own.sign(proof.canonical(receipt["receipt"])))
    assert first_misfit(a_bundle(journal, own, (receipt,))).code == "receipt"


def test_a_key_with_the_id_of_another_is_refused(own: Seal) -> None:
    thief = Seal(Ed25519PrivateKey.generate())
    bundle = a_bundle(facts(), thief)
    bundle["signature"]["key"] = bundle["keys"]["keys"][0]["kid"] = own.key_id
    assert first_misfit(bundle).code == "keys"


def test_a_key_under_tokens_is_not_believed_under_a_proof(own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    bundle["keys"]["keys"] = [own.jwk("sig")]
    assert first_misfit(bundle).code == "keys"


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "不是合法的 JSON"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": 1, "a": 2}', "字段重复"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1.0}', "1.0"),
        (b'{"a": 1e400}', "1e400"),
        (b'{"a": 123456789012345678901234567890}', "64 位"),
        (b'{"a": "\\ud800"}', "代理码位"),
        (b"[" * 100_000, "嵌套过深"),
        (b"[]", "不是留痕证明"),
        (b'{"format": "liandong-proof-2"}', "不认识的格式"),
        (b'{"format": "liandong-proof-1"}', "应有且仅有"),
        (b'{"receipt": {}}', "应有且仅有"),
    ],
)
def test_what_cannot_be_read_strictly_is_not_read(raw: bytes, sentence: str) -> None:
    with pytest.raises(verify.Unreadable, match=sentence):
        verify.check(raw)


def test_nothing_in_a_file_can_write_a_verdict_of_its_own(own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    bundle["stream"] = "case/x\n核验通过\x1b[2J"
    lines = verify.told(checked(bundle)).splitlines()
    assert "核验通过" not in lines
    assert lines[-1] == "核验不通过"
    assert "\x1b" not in "".join(lines)


class Alone:
    """The one file, on a Python without site packages and without the repository."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._program = shutil.copy(verify.__file__, place / "verify.py")

    def file(self, name: str, content: Any) -> str:
        path = self._place / name
        path.write_text(json.dumps(content, ensure_ascii=False))
        return str(path)

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", self._program, *arguments],
            check=False,
            capture_output=True,
            cwd=self._place,
            encoding="utf-8",
            env={"PYTHONIOENCODING": "utf-8"},
            input=stdin,
        )
        return done.returncode, done.stdout


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    return Alone(tmp_path)


def test_it_runs_by_itself(alone: Alone, own: Seal) -> None:
    journal = facts()
    file = alone.file("proof.json", a_bundle(journal, own))
    key = alone.file("jwks.json", {"keys": [own.jwk(SEALS), {"kty": "RSA", "kid": "of another kind"}]})
    witness = alone.file("witness.json", a_witness(journal[3]))
    code, out = alone.run(file, "--key", key, "--witness", witness)
    assert (code, out.splitlines()[-1]) == (0, "核验通过")
    assert "取自--key" in out


def test_it_reads_from_a_pipe_and_answers_programs(alone: Alone, own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    bundle["entries"][2]["public"] = bundle["entries"][2]["public"].replace("t1", "t2")
    code, out = alone.run("-", "--json", stdin=json.dumps(bundle))
    answer = json.loads(out)
    assert (code, answer["verified"]) == (1, False)
    assert answer["misfits"][0] == {"code": "digest", "entry": 3, "seq": 3, "detail": "摘要不符"}


def test_it_names_the_entry_to_people(alone: Alone, own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    bundle["entries"][2]["public"] = bundle["entries"][2]["public"].replace("t1", "t2")
    code, out = alone.run(alone.file("proof.json", bundle))
    assert code == 1
    assert "✗ 第 3 条（seq 3）摘要不符" in out


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_what_it_cannot_read_is_another_exit_code(more: tuple[str, ...], alone: Alone) -> None:
    assert alone.run("missing.json", *more)[0] == 2
    assert alone.run(alone.file("odd.json", {"format": "?"}), *more)[0] == 2


def test_a_witness_or_key_that_is_none_is_refused(alone: Alone, own: Seal) -> None:
    file, odd = alone.file("proof.json", a_bundle(facts(), own)), alone.file("odd.json", {"keys": []})
    assert alone.run(file, "--witness", odd)[0] == 2
    assert alone.run(file, "--key", odd)[0] == 2


def test_a_signature_has_one_writing(own: Seal) -> None:
    bundle = a_bundle(facts(), own)
    raw = base64.urlsafe_b64decode(bundle["signature"]["value"] + "==")
    bundle["signature"]["value"] = base64.urlsafe_b64encode(raw).decode()
    assert first_misfit(bundle).code == "encoding"
