#!/usr/bin/env python3
"""usage: references.py ROOT

What the texts refer to is there: links and their anchors; paths of the tree in texts, sources and tests; the files that
a layer's README names, which has at most 40 lines; and each file of a layer is named by its README or by a header beside
it, each example by the guide."""

import fnmatch
import pathlib
import re
import sys

README_LINES = 40
PATH = re.compile(r"(?<![\w./<>-])(?:lib|tests|docs|bench|include)/[\w./-]*\w\.(?:c|h|S|cc|py|sh|md|txt|map)\b")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE_NAME = re.compile(r"`([\w*{},\[\].]+\.(?:c|h|S|\[ch\]))`")
MADE_UP = {"tests/stress/thing_stress.c"}


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchors(path):
    found, times = set(), {}
    for title in re.findall(r"^#+ +(.*)", without_code(path.read_text()), flags=re.M):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "")
        name = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
        found.add(name if name not in times else f"{name}-{times[name]}")
        times[name] = times.get(name, 0) + 1
    return found


def broken_links(root, text):
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", without_code(text.read_text()))):
        if re.match(r"\w+:", link):
            continue
        where, _, anchor = link.partition("#")
        target = (text.parent / where).resolve() if where else text
        if not target.exists():
            yield f"{text.relative_to(root)}: {link} is not there"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            yield f"{text.relative_to(root)}: {link}: no such heading"


def broken_paths(root, path):
    for name in sorted(set(PATH.findall(path.read_text(errors="replace")))):
        if name not in MADE_UP and not (root / name).exists():
            yield f"{path.relative_to(root)}: {name} is not there"


def patterns(text):
    """The names of files in a text, {a,b} written out, as patterns."""
    for name in FILE_NAME.findall(text):
        braces = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
        if braces:
            yield from (braces[1] + middle + braces[3] for middle in braces[2].split(","))
        else:
            yield name


def wrong_readme(root, folder):
    text = (folder / "README.md").read_text()
    where = (folder / "README.md").relative_to(root)
    if len(text.splitlines()) > README_LINES:
        yield f"{where}: more than {README_LINES} lines"
    files = sorted(p.name for p in folder.iterdir() if p.suffix in (".c", ".h", ".S"))
    named = list(patterns(text))
    for pattern in named:
        if not fnmatch.filter(files, pattern) and not (root / "include/thrum" / pattern).exists():
            yield f"{where}: {pattern} is not there"
    headers = "".join(p.read_text() for p in folder.glob("*.h"))
    for name in files:
        stem = name.rsplit(".", 1)[0]
        if not (
            any(fnmatch.fnmatch(name, pattern) for pattern in named)
            or re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", headers)
            or f"`{stem}`" in text
            or f"`{stem}_*`" in text
            or any(fnmatch.fnmatch(stem, p) for p in re.findall(r"`(\w+_\*)`", text))
        ):
            yield f"{folder.relative_to(root)}/{name}: neither its README nor a header beside it names it"


def unnamed_examples(root):
    guide = "".join(p.read_text() for p in (root / "docs/guide").glob("*.md"))
    for example in sorted((root / "docs/examples").glob("*.c")):
        if f"/{example.name})" not in guide:
            yield f"docs/examples/{example.name}: the guide does not lead to it"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    texts = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("lib/*/*.md"), *root.glob("bench/**/*.md")]
    sources = [
        p
        for folder in ("lib", "tests", "include", "bench", "docs")
        for p in (root / folder).rglob("*")
        if p.suffix in (".c", ".h", ".S", ".cc", ".md", ".txt", ".py", ".sh", ".cmake")
    ]
    problems = [line for text in texts for line in broken_links(root, text)]
    problems += [line for path in sources for line in broken_paths(root, path)]
    for readme in sorted(root.glob("lib/*/README.md")):
        problems += wrong_readme(root, readme.parent)
    problems += unnamed_examples(root)
    for line in problems:
        print(f"FAILED: {line}")
    print(f"{len(texts)} texts, {len(sources)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
