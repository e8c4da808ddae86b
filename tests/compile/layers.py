#!/usr/bin/env python3
"""usage: layers.py ROOT

Holds the sources to lib/LAYERS: a file includes headers of its own folder, the doors
(`<layer>/<layer>.h`) of the layers that its line allows, public headers and the system's. Only os
asks which operating system it is. No two constructors have the same priority: which of them would run
first is up to the linker."""

import pathlib
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CONDITION = re.compile(r"^\s*#\s*(?:if|ifdef|ifndef|elif|elifdef|elifndef)\b")
CONSTRUCTOR = re.compile(r"\bconstructor\s*\(\s*(\d+)\s*\)")
SYSTEM = re.compile(
    r"\b(_WIN(?:32|64)|__(?:linux|gnu_linux|GLIBC|GLIBC_MINOR|APPLE|FreeBSD|NetBSD|OpenBSD"
    r"|DragonFly|ANDROID|CYGWIN|MINGW32|MINGW64|MUSL|UCLIBC|unix|sun|HAIKU)(?:__)?)\b"
)


def read_layers(path):
    allowed = {}
    for line in path.read_text().splitlines():
        line = line.split("#")[0].strip()
        if line:
            layer, _, others = line.partition(":")
            allowed[layer.strip()] = others.split()
    return allowed


def logical_lines(text):
    """(number, line) with continuation lines joined."""
    number, joined, start = 0, "", 1
    for line in text.splitlines():
        number += 1
        joined = joined or ""
        if not joined:
            start = number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        yield start, joined + line
        joined = ""


def check_layers(allowed):
    seen = []
    for layer, others in allowed.items():
        for other in others:
            if other not in seen:
                yield f"lib/LAYERS: {layer} includes {other}, which does not stand above it"
        seen.append(layer)


def check_include(layer, allowed, quote, name):
    parts = name.split("/")
    if quote == "<":
        if parts[0] in allowed:
            return "headers of the library are included with quotes"
        return None
    if len(parts) != 2:
        return 'written as "<layer>/<file>.h"'
    if parts[0] == layer:
        return None
    if parts[0] not in allowed[layer]:
        return f"{layer} may not include {parts[0]}"
    if parts[1] != parts[0] + ".h":
        return f"private to {parts[0]}; its door is {parts[0]}/{parts[0]}.h"
    return None


def check_file(root, path, layer, allowed):
    where = path.relative_to(root)
    for number, line in logical_lines(path.read_text()):
        include = INCLUDE.match(line)
        if include and layer is not None:
            problem = check_include(layer, allowed, *include.groups())
            if problem:
                yield f"{where}:{number}: {include.group(2)}: {problem}"
        if include and layer is None and include.group(1) == '"':
            yield f"{where}:{number}: public headers are included as <thrum/...>"
        system = SYSTEM.search(line) if CONDITION.match(line) else None
        if system and layer != "os":
            yield f"{where}:{number}: only os asks for {system.group(1)}"


def check_constructors(root):
    first = {}
    for path in sorted((root / "lib").rglob("*.c")):
        for priority in CONSTRUCTOR.findall(path.read_text()):
            where = path.relative_to(root)
            if priority in first:
                yield f"{where}: a constructor of priority {priority}, as in {first[priority]}"
            first[priority] = where


def main():
    root = pathlib.Path(sys.argv[1])
    allowed = read_layers(root / "lib/LAYERS")
    problems = list(check_layers(allowed)) + list(check_constructors(root))
    files = 0
    for path in sorted((root / "include").rglob("*.h")):
        problems += check_file(root, path, None, allowed)
        files += 1
    for folder in sorted(p for p in (root / "lib").iterdir() if p.is_dir()):
        sources = sorted(p for p in folder.rglob("*") if p.suffix in (".c", ".h", ".S"))
        if sources and folder.name not in allowed:
            problems.append(f"lib/{folder.name}: not in lib/LAYERS")
            continue
        for path in sources:
            problems += check_file(root, path, folder.name, allowed)
            files += 1
    for problem in problems:
        print(problem)
    print(f"{files} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
