"""What can go wrong, said once: a class, a sentence and facts; the edges decide what it means.

Refusal                the caller can act            HTTP          event edge
  NotFound             no such thing, or not yours   404           poison
  NotPermitted         you may not                   403           poison
  Conflict             it has moved on               409           poison
  RuleBroken           law or procedure forbids      409 + basis   poison
  Malformed            the input cannot be read      422           poison
    KeyReused          same key, another body        422           (never)
  Stale                If-Match is not current       412           (never)
  Unconditional        If-Match is missing           428           (never)
Transient              a dependency is down          503           retry with backoff
  Busy                 too contended                 503           retry
Poison                 will never succeed            (never)       park, with its reason
anything else          our bug                       500, logged   retry, then park
"""

from __future__ import annotations

from typing import Any, ClassVar


class Refusal(Exception):
    """The request is understood and refused; nothing was changed.

    `code` is stable and becomes the problem's `type`; `title` is the Chinese sentence for the class,
    `detail` the Chinese sentence for this occurrence, `facts` what a program may read.
    """

    code: ClassVar[str] = "refused"
    title: ClassVar[str] = "请求被拒绝"

    def __init__(self, detail: str = "", **facts: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.facts = facts


class NotFound(Refusal):
    """There is no such thing, or the caller may not know of it: the two look the same."""

    code = "not-found"
    title = "未找到该资源"


class NotPermitted(Refusal):
    """The caller sees the thing but may not do this to it."""

    code = "not-permitted"
    title = "无权进行该操作"


class Conflict(Refusal):
    """The thing has moved on: what the caller asks no longer fits its state."""

    code = "conflict"
    title = "当前状态不允许该操作"


class RuleBroken(Refusal):
    """Law or procedure forbids it. `basis` cites the article, e.g. 「行政处罚法第四十二条第一款」."""

    code = "rule-broken"
    title = "不符合法定要求"

    def __init__(self, detail: str = "", *, basis: str, **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.basis = basis


class Malformed(Refusal):
    """The input cannot be read. `errors` names each fault: {pointer, code, detail}."""

    code = "malformed"
    title = "请求内容不符合要求"

    def __init__(self, detail: str = "", *, errors: tuple[dict[str, str], ...] = (), **facts: Any) -> None:
        super().__init__(detail, **facts)
        self.errors = errors


class KeyReused(Malformed):
    """The Idempotency-Key was used before with another method, path or body."""

    code = "key-reused"
    title = "幂等键已用于另一请求"


class Stale(Refusal):
    """If-Match names a version that is no longer the newest (RFC 9110, 13.1.1)."""

    code = "stale"
    title = "版本已变化，请重新读取后再试"


class Unconditional(Refusal):
    """A state is moved here, so If-Match must say which version was read (RFC 6585, 3)."""

    code = "precondition-required"
    title = "缺少 If-Match 请求头"


class Transient(Exception):
    """A dependency is down; the same request may succeed later. `retry_after` is in seconds."""

    def __init__(self, detail: str = "服务暂不可用", *, retry_after: int = 2) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after


class Busy(Transient):
    """Too many callers want the same streams; nothing was changed."""

    def __init__(self) -> None:
        super().__init__("系统繁忙，请稍后重试", retry_after=1)


class Poison(Exception):
    """An event that will never succeed as it stands; its key is parked with `reason`."""

    def __init__(self, reason: str, **facts: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.facts = facts
