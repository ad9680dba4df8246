"""One settings object: the environment (``DUECARE_…``) over ``settings.toml`` in the home folder over defaults.

The rule of this module: nothing else reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from duecare.errors import BadInput, UnknownName

_PREFIX = "DUECARE_"
_OF_TESTS = ("TEST_", "DATA")
"""How the names of variables begin that only the tests read."""


class WitnessSetting(BaseModel):
    """Where an independent witness is reached, and the public key under which its cosignatures verify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Address of the witness, to which /add-checkpoint is added.")
    key: str = Field(description="Its public key, as duecare witness show prints it.")


class Settings(BaseSettings):
    """Where things live and how they behave. Times are in seconds, sizes in bytes unless a name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True)

    home: Path = Field(default=Path("~/.duecare"), description="Folder of the lake, the log, snapshots and database.")
    database_url: str = Field(default="", description="SQLAlchemy address; empty: SQLite in the home folder.")
    language: str = Field(default="zh", description="Language of mails and printed reasons: zh or en.")
    memory_limit: str = Field(default="3GB", description="What the lake's engine may hold in memory.")
    threads: int = Field(default=0, ge=0, description="Threads of the lake's engine; 0: one for each core.")

    lapse_floor: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least share of what is held that a read must cover before it may close anything.",
    )
    baseline_tail: float = Field(
        default=1e-6, gt=0, lt=1, description="A batch is held when its count is less likely than this."
    )
    verification_days: int = Field(
        default=7, gt=0, description="Days an alert waits for a source before it expires unsent."
    )
    sites: dict[str, str] = Field(
        default={},
        description="Source → address of its site, where pages are looked up anew; else the source's own address.",
    )
    retry_hours: int = Field(default=72, gt=0, description="Hours after which a delivery is given up.")

    smtp_url: str = Field(default="", description="smtp://user:password@host:port; empty: mail is not configured.")
    mail_from: str = Field(default="duecare <duecare@localhost>", description="Sender of mails.")
    sms_url: str = Field(default="", description="HTTP SMS gateway.")
    sms_token: str = Field(default="", description="Bearer token of the SMS gateway.")
    public_url: str = Field(default="", description="Address that links in mails start with.")
    user_agent: str = Field(
        default="duecare/0.1 (+https://duecare.invalid/crawler)", description="How the crawler introduces itself."
    )
    witnesses: list[WitnessSetting] = Field(
        default=[],
        description="Independent witnesses, each of which must cosign what a certificate rests on: a list of url and "
        "key; in the environment as JSON.",
    )
    state: Path = Field(
        default=Path("~/.local/state/duecare"),
        description="Folder outside of the home and its backups, where it is noted how long the log was.",
    )
    witness_hours: int = Field(
        default=24, gt=0, description="Hours for which a restarted home opens personal data while no witness answers."
    )
    unwitnessed: str = Field(
        default="",
        description="Who answers for opening personal data in a home for which no witness vouches, and why; it is kept "
        "as evidence.",
    )
    policies: Path | None = Field(
        default=None, description="Folder of the operator's own Cedar policies (forbid only)."
    )

    controller_name: str = Field(default="", description="Who processes personal data, as notices and receipts say.")
    controller_code: str = Field(
        default="", description="The controller's unified social credit code, or its number in another register."
    )
    controller_address: str = Field(default="", description="The controller's postal address.")
    controller_contact: str = Field(default="", description="Where a person reaches the controller: mail or phone.")
    controller_jurisdiction: str = Field(default="CN", description="Country whose law holds, as two letters.")
    storage_places: list[str] = Field(default=["CN"], description="Countries where personal data is stored.")

    gate_list_hours: int = Field(
        default=24, gt=0, description="Hours for which a gate may decide by its list while the centre is unreachable."
    )

    @field_validator("home", "state")
    @classmethod
    def _expand(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str) -> str:
        if language not in ("zh", "en"):
            raise ValueError("must be zh or en")
        return language

    @property
    def database(self) -> str:
        """The address of the database, the embedded one if none was given."""
        return self.database_url or f"sqlite:///{self.home / 'duecare.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings


def load(**given: Any) -> Settings:
    """Settings from ``given``, the environment and the home's ``settings.toml``; ``None`` means not given.

    Raises ``BadInput`` naming the setting, its value and what it should be, ``UnknownName`` for one that there is not.
    """
    given = {name: value for name, value in given.items() if value is not None}
    stored: dict[str, Any] = {}
    place = "settings.toml"
    try:
        settings = Settings(**given)
        path = settings.home / place
        if path.exists():
            place = str(path)
            stored = tomllib.loads(path.read_text(encoding="utf-8"))
            explicit = settings.model_fields_set
            settings = Settings(**{**stored, **{name: getattr(settings, name) for name in explicit}})
    except ValidationError as error:
        first = error.errors()[0]
        raise _wrong([str(part) for part in first["loc"]], first["type"], first.get("input"), place) from None
    except SettingsError as error:  # a list or table in the environment that is not JSON
        name = (re.findall(r'field "(\w+)"', str(error)) or ["witnesses"])[0]
        raise _wrong([name], "json", os.environ.get(_variable(name), ""), place) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{place} is not TOML: {error}.") from None
    return settings


def not_settings() -> list[str]:
    """What is wrong with each variable of the environment that is called like a setting and is none, in a sentence."""
    from difflib import get_close_matches

    said = list[str]()
    for variable in sorted(os.environ):
        name = variable.upper().removeprefix(_PREFIX)
        if name == variable.upper() or name.lower() in Settings.model_fields or name.startswith(_OF_TESTS):
            continue
        near = get_close_matches(name.lower(), Settings.model_fields, n=1)
        said.append(
            f"{variable} is no setting and is not read." + (f" Did you mean {_variable(near[0])}?" if near else "")
        )
    return said


_SHAPES: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    Path: "a folder",
    Path | None: "a folder",
    str: "a text",
    list[str]: 'a list of texts, such as ["CN"]',
    dict[str, str]: 'a table of texts, such as {"cn-national-register": "http://127.0.0.1:8080"}',
    list[WitnessSetting]: 'a list, such as [{"url": "https://witness.example", "key": "…"}]',
}
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"


def _wrong(place_in: list[str], kind: str, value: Any, file: str) -> BadInput | UnknownName:
    """What is wrong with the setting at ``place_in`` (its name, then what is inside of it), in our words."""
    name, *inner = place_in
    field = Settings.model_fields.get(name)
    if field is None:
        return UnknownName("setting", name, sorted(Settings.model_fields))
    right = _SHAPES[field.annotation]
    limits = [
        f"{words} {getattr(bound, limit):g}"
        for bound in field.metadata
        for limit, words in _LIMITS.items()
        if hasattr(bound, limit)
    ]
    if name == "language":
        right = "zh or en"
    elif limits:
        right += ", " + " and ".join(limits)
    where = _variable(name) if _variable(name) in os.environ else file
    title = ".".join(place_in)
    if kind == "missing":
        said = f"Setting {title} is missing."
    elif kind == "extra_forbidden":
        said = f"There is no {inner[-1]} in the setting {name}."
    else:
        said = f"Setting {title} is {value!r}."
    what = "a text" if inner and kind == "string_type" else right
    return BadInput(said, hint=f"Give {what} in {where}. {name}: {field.description}")
