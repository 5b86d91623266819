"""What no tracked file may say, whatever its kind: secrets, hosts of package registries, places of one machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

# Words in a value that mark it as made up, for a test or an example.
MADE_UP = re.compile(
    r"made|fake|example|dummy|test|wrong|rehearsal|secret|password|stand-?in|\.\.\.|…|<", re.IGNORECASE
)
PREFIXES = "sk-or-|sk-ant-|sk-proj-|sk_live_|gh[pousr]_|github_pat_|xox[abp]-|AKIA|sbp_|sb_secret_|vcp_"
SECRETS = {  # kind -> pattern; its group is the value
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE (KEY)-----",
    "a signed token": r"\b(eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)",
    "an API key": rf"\b(?:{PREFIXES})([\w-]{{16,}})",
    "a Fly token": r"\b(?:FlyV1 fm\d_|fm\d_|fo1_)([\w+/=,-]{16,})",
    "a password in a URL": r"\b[a-z][a-z+]*://[^\s:@/{}$<>*'\"`]+:([^\s@/{}$<>*'\"`]{4,})@(?!127\.|localhost)",
    "a key in hexadecimal": r"(?i)\b\w*(?:private|secret)\w*\s*[=:]\s*[\"']?(?:0x)?([0-9a-f]{64})\b",
}
# Written in parts: this file is tracked too.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("debian", "org"),
        ("anaconda", "org"),
        ("anaconda", "com"),
        ("crates", "io"),
        ("golang", "org"),
    )
)
HOSTS = re.compile(rf"(?<![\w-])(?:[\w-]+\.)*(?:{'|'.join(map(re.escape, REGISTRIES))})\b")
MACHINE = re.compile(r"(?<![\w.~}$/-])/(?:root|home|Users|work|opt)/[\w.-]+")


def tracked(root: Path) -> list[Path]:
    """Every file that git keeps here and that is still there."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=True)
    return [root / name for name in listed.stdout.split("\0") if name and (root / name).is_file()]


def secrets(text: str) -> Iterator[str]:
    """Values that look like a secret and are not marked as made up."""
    for what, pattern in SECRETS.items():
        for found in re.finditer(pattern, text):
            if not MADE_UP.search(found[1]):
                yield f"{what}: {found[0][:12]}…"


def registries(text: str) -> Iterator[str]:
    """Hosts of package registries: which one is used is the business of the machine that installs."""
    yield from (f"the host {found[0]}" for found in HOSTS.finditer(text))


def machine(text: str) -> Iterator[str]:
    """Absolute paths that exist on somebody's machine only."""
    yield from (f"the path {found[0]}" for found in MACHINE.finditer(text))


RULES = (secrets, registries, machine)
