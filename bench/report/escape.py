"""Foreign text made fit for a page: on one line, measured, folded, escaped for Markdown and LaTeX."""

from __future__ import annotations

import re
import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_JOINERS = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"

_MARKDOWN = str.maketrans({char: f"\\{char}" for char in "\\`*_[]|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})
# What makes a block of a line: headings, lists, rules, underlines of headings.
_MARKDOWN_BLOCK = re.compile(r"^(?=[#+]|[-=]([\s=-]|$))|^(\d+)(?=[.)](\s|$))")

# Besides the ten specials: quotes and brackets that T1 fonts would print as something else or draw together.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "—": r"\textemdash{}",
    "–": r"\textendash{}",
    "…": r"\textellipsis{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "•": r"\textbullet{}",
    "§": r"\textsection{}",
    "°": r"\textdegree{}",
    "©": r"\textcopyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "€": r"\texteuro{}",
}
_MATHS = {
    **dict(
        zip(
            "αβγδεζηθικλμ",
            ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu"],
            strict=True,
        )
    ),
    **dict(
        zip(
            "νξπρστυφχψω",
            ["nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"],
            strict=True,
        )
    ),
    **dict(
        zip(
            "ΓΔΘΛΞΠΣΥΦΨΩ",
            ["Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"],
            strict=True,
        )
    ),
    **dict(zip("±×÷·≤≥≠≈", ["pm", "times", "div", "cdot", "le", "ge", "ne", "approx"], strict=True)),
    **dict(
        zip(
            "→←↑↓∞∈√∑∏∂∇",
            [
                "rightarrow",
                "leftarrow",
                "uparrow",
                "downarrow",
                "infty",
                "in",
                "surd",
                "sum",
                "prod",
                "partial",
                "nabla",
            ],
            strict=True,
        )
    ),
    "µ": "mu",
}
_LATEX |= {char: rf"\ensuremath{{\{name}}}" for char, name in _MATHS.items()}
_LATEX |= {"−": r"\ensuremath{-}", "¹": r"\ensuremath{^1}", "²": r"\ensuremath{^2}", "³": r"\ensuremath{^3}"}
# Letters beyond Latin-1 that T1 fonts have.
_T1_LETTERS = set("ĂăĄąĆćČčĎďĐđĘęĚěĞğİıŁłŃńŇňŐőŒœŘřŚśŞşŠšŤťŢţŮůŰűŸŹźŻż")


def clean(text: str) -> str:
    """Text on one line: breaks, tabs and other controls become spaces, what would turn its order round becomes U+FFFD."""
    return text if text.isascii() and text.isprintable() else "".join(map(_clean, text))


def _clean(char: str) -> str:
    category = unicodedata.category(char)
    if category in ("Cc", "Zs", "Zl", "Zp"):
        return " "
    return REPLACEMENT if category == "Cs" or (category == "Cf" and char not in _JOINERS) else char


def width(text: str) -> int:
    """Columns that a terminal gives a text: wide East Asian characters and emoji two, combining marks none."""
    from rich.cells import cell_len

    return cell_len(text)


def fold(text: str, columns: int) -> list[str]:
    """Lines of at most `columns` (at least 2), broken between words, within a word only where it has no line of its own."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) <= columns:
            lines[-1] = joined
            continue
        lines += [""] if lines[-1] else []
        for char in word:
            if width(lines[-1] + char) > columns:
                lines.append("")
            lines[-1] += char
    return lines


def markdown(text: str) -> str:
    """Text that Markdown and HTML show as it is, on one line, also where it starts the line."""
    return _MARKDOWN_BLOCK.sub(r"\g<0>\\", clean(text).strip().translate(_MARKDOWN))


def latex(text: str) -> str:
    """Text that LaTeX with T1 fonts prints as it is, on one line; what these fonts lack becomes its code point, [U+4E2D]."""
    escaped = ""
    previous = ""
    for char in unicodedata.normalize("NFC", clean(text).strip()):
        ligature = char == previous and char in "-,"
        escaped += ("{}" if ligature else "") + _latex(char)
        previous = char
    # After `\\\\` or a rule these two would be its star or its argument.
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(("[", "*")) else escaped


def _latex(char: str) -> str:
    if char in _LATEX:
        return _LATEX[char]
    printable = " " <= char <= "~" or "À" <= char <= "ÿ" or char in _T1_LETTERS
    return char if printable else f"[U+{ord(char):04X}]"
