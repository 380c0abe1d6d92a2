"""References that are made of the code: endpoints, problems, commands, and the four steps of the lesson."""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Final
from unittest.mock import patch

import typer.main

from app.commands import with_subcommands
from app.main import create_app
from app.server.problems import KINDS
from app.settings import Settings
from app.web.tour import TOUR
from tools.site.layout import place

_MADE = "Made of the code by `make docs`."


def cited() -> set[str]:
    """The files of the repository to which these pages link."""
    return {step.place for step in TOUR}


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> Iterator[str]:
    if rows:
        yield ""
        for row in (head, ("---",) * len(head), *rows):
            yield f"| {' | '.join(map(_cell, row))} |"
        yield ""


# --- endpoints ------------------------------------------------------------------------------------------


def _endpoints() -> str:
    described = _description()
    lines = [
        "# Endpoints",
        "",
        f"What a service with default settings says of itself at `/openapi.json`. {_MADE}",
        "The page that explains them is [the API](../api.md).",
    ]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            lines += _endpoint(f"{method.upper()} {path}", operation)
    lines += ["", "## Documents"]
    for name, schema in described["components"]["schemas"].items():
        lines += ["", f"### {name}", "", _cell(schema.get("description", ""))]
        required = schema.get("required", [])
        rows: list[tuple[object, ...]] = [
            (
                f"`{field}`",
                _type(value),
                "always" if field in required else "sometimes",
                value.get("description", ""),
            )
            for field, value in schema.get("properties", {}).items()
        ]
        lines += _table(("member", "type", "there", "meaning"), rows)
        if "enum" in schema:
            lines += ["", "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."]
    return "\n".join(lines) + "\n"


def _description() -> dict[str, Any]:
    """The description of a service that stores into a folder of its own and is not started."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, clear=True):
        settings = Settings(_env_file=None, store_url=f"file://{folder}")  # type: ignore[call-arg]
        described: dict[str, Any] = create_app(settings).openapi()
        return described


def _endpoint(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"## `{name}`", "", operation.get("description") or operation["summary"])
    parameters: list[tuple[object, ...]] = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), each.get("description", ""))
        for each in operation.get("parameters", [])
    ]
    yield from _table(("parameter", "in", "type", "meaning"), parameters)
    body = operation.get("requestBody")
    if body:
        types = ", ".join(f"`{kind}`" for kind in body["content"])
        yield from ("", f"Body: {types}. {body.get('description', '')}", "")
    answers: list[tuple[object, ...]] = [
        (f"`{status}`", "<br>".join(map(_content, answer.get("content", {}).items())), answer["description"])
        for status, answer in operation["responses"].items()
    ]
    yield from _table(("status", "body", "meaning"), answers)


def _content(content: tuple[str, dict[str, Any]]) -> str:
    kind, described = content
    name = described.get("schema", {}).get("$ref", "").rpartition("/")[2]
    return f"`{kind}`" + (f" [{name}](#{name.lower()})" if name else "")


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type", "anything"))


# --- problems -------------------------------------------------------------------------------------------


def _problems() -> str:
    lines = [
        "# Problems",
        "",
        f"Every kind of error document (RFC 9457) that the service answers with. {_MADE}",
        "Each has a page at the service, too, at the address that its `type` names.",
    ]
    for kind in sorted(KINDS.values(), key=lambda kind: (kind.status, kind.slug)):
        lines += [
            "",
            f"## {kind.status} {kind.title} {{ #{kind.slug} }}",
            "",
            f"`{kind.type_uri or kind.page}`",
        ]
        lines += ["", kind.meaning, "", f"**What to do:** {kind.remedy}"]
    return "\n".join(lines) + "\n"


# --- commands -------------------------------------------------------------------------------------------


def _commands() -> str:
    group: Any = typer.main.get_command(with_subcommands())
    lines = [
        "# Commands",
        "",
        f"{_MADE} `spillway COMMAND --help` says the same. Settings are in [Settings](../settings.md).",
    ]
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        options = [each for each in command.params if each.opts[0].startswith("-")]
        arguments = [_argument(each) for each in command.params if each not in options]
        title = " ".join(["spillway", name, *arguments])
        lines += ["", f"## `{title}` {{ #{name} }}", "", _paragraphs(command.help)]
        rows: list[tuple[object, ...]] = [
            (", ".join(f"`{option}`" for option in each.opts), each.help or "", _default(each.default))
            for each in command.params
        ]
        lines += _table(("option or argument", "meaning", "default"), rows)
    return "\n".join(lines) + "\n"


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + "..." * (parameter.nargs != 1)
    return name if parameter.required else f"[{name}]"


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(map(_cell, (text or "").replace("\b", "").split("\n\n")))


def _default(value: object) -> str:
    return f"`{value}`" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


# --- the lesson -----------------------------------------------------------------------------------------


def _lesson() -> str:
    lines = [
        "# The lesson in four steps",
        "",
        "The tour of the service's page, on paper: a question, what is seen when it is tried, and the code",
        "that does it here. The page of a service with `SPILLWAY_DEMO=true` plays each of them as an act.",
        "[Concepts](concepts.md) explains the ideas behind them.",
    ]
    for step in TOUR:
        answers = [
            f"{'- **' if number == step.right else '- '}{answer}{'**' if number == step.right else ''}"
            for number, answer in enumerate(step.answers)
        ]
        source = f"From [`{step.place}`]({place(step.place)}):"
        code = [f"```python\n{step.code}\n```"]
        lines += [
            "",
            f"## {step.title}",
            "",
            step.question,
            "",
            *answers,
            "",
            step.told,
            "",
            source,
            "",
            *code,
        ]
    return "\n".join(lines) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "reference/http.md": _endpoints,
    "reference/problems.md": _problems,
    "reference/commands.md": _commands,
    "lesson.md": _lesson,
}
"""What writes each page, by the page's place in the site's sources."""
