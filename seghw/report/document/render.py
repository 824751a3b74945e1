"""One Markdown text, rendered twice: as HTML for the page and as Typst for the PDF.

Fenced blocks with a name (figures, beyond, claims, table, live, formula) are the document's own
blocks; ``build`` makes them for both renderers.
"""

import re
from collections.abc import Callable

import mistune
from mistune.core import BaseRenderer, BlockState

#: The block's name, its arguments and its body, to what stands in its place.
Blocks = Callable[[str, str, str], str]


def slug(text: str) -> str:
    """``"4. Evaluation"`` to ``"evaluation"``."""
    return re.sub(r"[^a-z]+", "-", text.lower()).strip("-")


def _block(blocks: Blocks, code: str, info: str | None) -> str:
    name, _, arguments = (info or "").partition(" ")
    return blocks(name, arguments.strip(), code)


class _Html(mistune.HTMLRenderer):
    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks

    def heading(self, text: str, level: int, **attrs) -> str:
        plain = re.sub(r"<[^>]*>", "", text)
        return f'<h{level} id="{slug(plain)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        kind = ' class="number"' if url.startswith("#number-") else ""
        return f'<a{kind} href="{url}">{text}</a>'

    def block_code(self, code: str, info: str | None = None) -> str:
        return _block(self.blocks, code, info)


class _Typst(BaseRenderer):
    NAME = "typst"

    def __init__(self, blocks: Blocks) -> None:
        super().__init__()
        self.blocks = blocks

    def render_token(self, token: dict, state: BlockState) -> str:
        kind, attrs = token["type"], token.get("attrs", {})
        children = token.get("children")
        inner = (
            self.render_tokens(children, state) if children else typst_text(token.get("raw", ""))
        )
        if kind == "heading":
            return f"\n{'=' * (attrs['level'] - 1)} {inner} <{slug(_plain(token))}>\n"
        if kind == "link":
            return f"#link(<{attrs['url'].removeprefix('#')}>)[{inner}]"
        if kind == "block_code":
            return _block(self.blocks, token["raw"], attrs.get("info"))
        before, after = {
            "paragraph": ("", "\n\n"),
            "strong": ("#strong[", "]"),
            "emphasis": ("#emph[", "]"),
            "block_quote": ("#quote(block: true)[", "]\n\n"),
        }.get(kind, ("", ""))
        return " " if kind in ("softbreak", "linebreak") else before + inner + after


def _plain(token: dict) -> str:
    return token.get("raw", "") + "".join(map(_plain, token.get("children", ())))


def typst_text(text: str) -> str:
    """Text with everything escaped that means something in Typst's markup."""
    return re.sub(r"([\\#*_`$<>@\[\]~/=+\-'\"])", r"\\\1", text)


def to_html(text: str, blocks: Blocks) -> str:
    """Markdown to the body of a page."""
    return mistune.create_markdown(renderer=_Html(blocks))(text)


def to_typst(text: str, blocks: Blocks) -> str:
    """Markdown to Typst's markup."""
    return mistune.create_markdown(renderer=_Typst(blocks))(text)
