#!/usr/bin/env python3
"""usage: documented.py ROOT
Every function, macro, type, constant and member of the public headers has a comment of its own, everything that the
library exports stands in a header, and every header on the reference's first page. Knows the headers' way to write, and needs no other program."""

import pathlib
import re
import sys

MEMBER = re.compile(r" {4,}[^#*/].*;( /\*\*<.*)?$")
PRIVATE = re.compile(r"\bthrum_\w+(\[\d+\])?(\)\(.*\))?;$")


class Header:
    def __init__(self, path):
        self.path = path
        self.lines = path.read_text().split("\n")
        self.documented = set()
        self.missing = []

    def has_comment_above(self, at):
        above = at - 1
        while above >= 0 and self.lines[above].lstrip().startswith("/* NOLINT"):
            above -= 1
        if above < 0 or not self.lines[above].rstrip().endswith("*/"):
            return False
        while above >= 0 and "/*" not in self.lines[above]:
            above -= 1
        return self.lines[above].lstrip().startswith("/**") and "/**<" not in self.lines[above]

    def check(self, at, name, good):
        if good:
            self.documented.add(name)
        else:
            self.missing.append(f"{self.path.name}:{at + 1}: {name} is not documented")

    def read_body(self, at, kind):
        """Members of a struct, or values of an enum; returns where it ends."""
        if "}" in self.lines[at]:
            self.check(at, "an enum's values on one line", False)
            return at
        at += 1
        while not self.lines[at].startswith("}"):
            text = self.lines[at]
            value = re.match(r" +(THRUM_\w+)( = \w+)?,?( *(/\*\*<.*)?)$", text)
            if kind == "enum" and value:
                self.check(at, value[1], bool(value[4]) or self.has_comment_above(at))
            elif kind == "struct" and text.endswith(";") and PRIVATE.search(text):
                pass
            elif kind == "struct" and MEMBER.match(text.split("/**<")[0].rstrip()):
                name = re.findall(r"(\w+)\)?(?:\[\w+\])?(?:\(.*\))?;", text)[0]
                behind = "/**<" in text
                self.check(at, name, behind or self.has_comment_above(at))
            at += 1
        return at

    def read(self):
        at = 0
        while at < len(self.lines):
            text = self.lines[at]
            function = re.match(r"THRUM_API.*[ *](thrum_[a-z0-9_]+)\(", text)
            macro = re.match(r"#define (THRUM_\w+)", text)
            body = re.match(r"(?:typedef )?(struct|enum)\b.*\{", text)
            typedef = re.match(r"typedef .*?(thrum_\w+)\)?(\(.*)?[;,]?$", text)
            if function:
                self.check(at, function[1], self.has_comment_above(at))
            elif macro and not macro[1].endswith("_H"):
                other = "/**<" in text or macro[1] in self.documented or any(
                    re.match(rf"#define {macro[1]}\b", self.lines[i]) and self.has_comment_above(i)
                    for i in range(len(self.lines))
                )
                self.check(at, macro[1], other)
            elif body:
                name = text
                documented = self.has_comment_above(at)
                end = self.read_body(at, body[1])
                name = self.lines[end].strip("} ;") or text
                self.check(at, name, documented)
                at = end
            elif typedef:
                self.check(at, typedef[1], self.has_comment_above(at))
            at += 1


def main():
    root = pathlib.Path(sys.argv[1])
    documented, missing = set(), []
    first_page = (root / "docs/reference/main.md").read_text()
    for path in sorted((root / "include/thrum").glob("*.h")):
        header = Header(path)
        header.read()
        documented |= header.documented
        missing += header.missing
        if not re.search(rf"\b{path.name}\b", first_page):
            missing.append(f"{path.name} is not on the first page, docs/reference/main.md")
    exports = (root / "tests/compile/exports.txt").read_text().split()
    missing += [f"{name} is exported, and not documented in a header"
                for name in exports if name not in documented]
    print("\n".join(missing) or f"{len(documented)} names, {len(exports)} of them exported")
    return 1 if missing else 0


sys.exit(main())
