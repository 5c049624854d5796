"""What setup.cfg cannot say: on a package index, README's links lead to the repository.

``url`` in setup.cfg is the repository's address, as GitHub lays repositories out. Without one the links stay relative.
"""

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def absolute(text: str, url: str, tag: str) -> str:
    """Markdown with relative links and pictures made absolute: pages under ``blob``, pictures under ``raw``."""

    def full(found: re.Match) -> str:
        kind = "raw" if found["picture"] else "blob"
        return f"{found['picture']}[{found['text']}]({url}/{kind}/{tag}/{found['target']})"

    return re.sub(r"(?P<picture>!?)\[(?P<text>[^]]*)\]\((?!https?:|#)(?P<target>[^)\s]+)\)", full, text)


def long_description() -> str:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", "utf-8")
    text = (ROOT / "README.md").read_text("utf-8")
    url = settings.get("metadata", "url", fallback="")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "l1flow_agents" / "__init__.py").read_text("utf-8"))[1]
    return absolute(text, url, f"v{version}") if url else text


if __name__ == "__main__":  # tests import this file
    setup(long_description=long_description(), long_description_content_type="text/markdown")
