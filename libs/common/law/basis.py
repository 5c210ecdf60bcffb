"""Citations of law, in one form: 「行政处罚法第四十二条第一款」; a rule without one is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Laws that rules may cite: short name -> (full title, number of its last article).
LAWS = {
    "行政处罚法": ("中华人民共和国行政处罚法（2021年修订）", 86),
    "行政强制法": ("中华人民共和国行政强制法（2011年）", 71),
}

_NUMERALS = "零一二三四五六七八九"
_DIGITS = {c: n for n, c in enumerate(_NUMERALS)}
_NUMERAL = f"[{_NUMERALS}十百]+"
_CITATION = re.compile(
    rf"(?P<law>{'|'.join(LAWS)})第(?P<article>{_NUMERAL})条"
    rf"(?:第(?P<paragraph>{_NUMERAL})款)?(?:第(?P<item>{_NUMERAL})项)?"
)
#: A citation of whatever law, by its title; there is no list of all that an official may cite.
_ANY = re.compile(
    r"《?(?P<title>[\u4e00-\u9fff]{1,40}(?:法|条例|办法|规定|规则|细则|规程|决定))》?"
    rf"(?P<place>第(?:{_NUMERAL}|\d+)条(?:第(?:{_NUMERAL}|\d+)款)?(?:第(?:{_NUMERAL}|\d+)项)?)"
)


@dataclass(frozen=True, order=True, slots=True)
class Citation:
    """An article of law, with paragraph (款) and item (项) where they are named; 0 where not."""

    law: str
    article: int
    paragraph: int = 0
    item: int = 0

    def __str__(self) -> str:
        text = f"{self.law}第{chinese(self.article)}条"
        text += f"第{chinese(self.paragraph)}款" if self.paragraph else ""
        return text + (f"第{chinese(self.item)}项" if self.item else "")


def read(text: str) -> tuple[Citation, ...]:
    """The citations in 「……、……」; ValueError unless the whole text is citations of known articles."""
    return tuple(_one(part) for part in text.split("、"))


def cited(text: str) -> tuple[str, ...]:
    """The citations in an official's free text, of whatever law, and nothing else of it."""
    found = (f"{match['title']}{match['place']}" for match in _ANY.finditer(text))
    return tuple(dict.fromkeys(found))


def number(numeral: str) -> int:
    """The number that a Chinese numeral below 1000 writes."""
    total = digit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS[character]
        else:
            total += (digit or 1) * (100 if character == "百" else 10)
            digit = 0
    return total + digit


def chinese(value: int) -> str:
    """A number below 100 as a Chinese numeral, as statutes write it."""
    tens, ones = divmod(value, 10)
    text = "" if tens == 0 else "十" if tens == 1 else f"{_NUMERALS[tens]}十"
    return text + (_NUMERALS[ones] if ones or not tens else "")


def _one(text: str) -> Citation:
    found = _CITATION.fullmatch(text)
    if found is None:
        raise ValueError(f"不是可识别的法律依据：{text!r}")
    parts = [number(found[name]) if found[name] else 0 for name in ("article", "paragraph", "item")]
    if not 1 <= parts[0] <= LAWS[found["law"]][1]:
        raise ValueError(f"{found['law']}没有第{parts[0]}条")
    return Citation(found["law"], *parts)
