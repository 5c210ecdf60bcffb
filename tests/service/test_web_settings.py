"""Settings choose the engine, refuse what cannot be meant, and keep their secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common import settings

URL = "postgresql+asyncpg://liandong:hunter2@db/liandong_{service}"


def load(environment: pytest.MonkeyPatch, **variables: str) -> settings.Settings:
    for name, value in variables.items():
        environment.setenv(f"LIANDONG_{name}", value)
    return settings.load()


def test_without_settings_everything_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch)
    assert (found.engine, found.partition_count, found.token_seconds) == ("embedded", 4, 43200)
    assert found.key_directory == Path(".liandong/keys")
    assert [found.base_url(name) for name in ("cases", "notify", "sharing")] == [
        "http://127.0.0.1:8001",
        "http://127.0.0.1:8002",
        "http://127.0.0.1:8003",
    ]


def test_a_database_and_a_log_make_it_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(
        monkeypatch,
        DATABASE=URL,
        KAFKA="a:9092,b:9092",
        JWKS="https://id.example/jwks",
        CASES_URL="http://c/",
    )
    assert (found.engine, found.partition_count, found.token_seconds) == ("distributed", 12, 600)
    assert found.database_for("notify").endswith("@db/liandong_notify")
    assert found.base_url("cases") == "http://c"


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load(monkeypatch, DATABASE=URL, KAFKA="a:9092")
    assert "hunter2" not in f"{found!r} {found} {found.model_dump_json()}"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"DATABASE": URL}, "缺少 LIANDONG_KAFKA"),
        ({"KAFKA": "a:9092"}, "缺少 LIANDONG_DATABASE"),
        ({"DATABASE": URL, "KAFKA": "a:9092", "CLOCK": "now"}, "LIANDONG_CLOCK 只能用于嵌入式引擎"),
        (
            {"DATABASE": "mysql://hunter2", "KAFKA": "a:9092"},
            "LIANDONG_DATABASE：应以 postgresql+asyncpg:// 开头",
        ),
        ({"DATABASE": URL.replace("service", "name"), "KAFKA": "a:9092"}, "花括号中只能是 {service}"),
        ({"DATABASE": URL, "KAFKA": "a"}, "LIANDONG_KAFKA：格式不正确"),
        ({"DATABSE": URL}, "是否应为 LIANDONG_DATABASE"),
        ({"CASES_PORT": "http"}, "LIANDONG_CASES_PORT：应为整数"),
        ({"CASES_PORT": "70000"}, "LIANDONG_CASES_PORT：不得大于 65535"),
        ({"CASES_URL": "c:8001"}, "LIANDONG_CASES_URL：应为 http 或 https 网址"),
        ({"TOKEN_LEEWAY_SECONDS": "300"}, "LIANDONG_TOKEN_LEEWAY_SECONDS：不得大于 60"),
        ({"LOG_LEVEL": "loud"}, "LIANDONG_LOG_LEVEL：应为下列之一"),
        ({"DEFAULT_AGENCY": "11330106MB12345670"}, "统一社会信用代码"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name_and_without_secrets(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(settings.Misconfigured) as refused:
        load(monkeypatch, **variables)
    assert said in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_what_is_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, DATABASE="", KAFKA="").engine == "embedded"
