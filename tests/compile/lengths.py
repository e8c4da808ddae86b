#!/usr/bin/env python3
"""usage: lengths.py ROOT

How long the functions and files of lib/ are, from the signature to the closing brace. What we aim at:
median 12, nine of ten at most 35 lines, files at most 400. Fails on a function over 80 lines or a file
over 600."""

import pathlib
import statistics
import sys

MAX_FUNCTION, MAX_FILE = 80, 600
AIM_MEDIAN, AIM_P90, AIM_FILE = 12, 35, 400


def functions(path):
    """(name, first line, lines) of each; the format check keeps braces of functions in column 0."""
    lines = path.read_text().splitlines()
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            first = start - 1
            while first > 1 and lines[first - 1].startswith((" ", "\t")):
                first -= 1
            name = lines[first - 1].split("(")[0].split()[-1].lstrip("*")
            yield name, first, number - first + 1
            start = None


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main():
    root = pathlib.Path(sys.argv[1])
    files = sorted(p for p in (root / "lib").rglob("*") if p.suffix in (".c", ".h"))
    problems, found = [], []
    for path in files:
        where = path.relative_to(root)
        count = len(path.read_text().splitlines())
        if count > AIM_FILE:
            print(f"{where}: {count} lines")
        if count > MAX_FILE:
            problems.append(f"{where}: {count} lines, at most {MAX_FILE}")
        for name, line, length in functions(path):
            found.append((length, f"{where}:{line}: {name}"))
            if length > MAX_FUNCTION:
                problems.append(f"{where}:{line}: {name}: {length} lines, at most {MAX_FUNCTION}")
    if found:
        lengths = [length for length, _ in found]
        print(f"{len(files)} files, {len(found)} functions")
        print(f"median {statistics.median(lengths):.0f} (aim {AIM_MEDIAN})")
        print(f"nine of ten {percentile(lengths, 0.9)} (aim {AIM_P90})")
        print("longest:")
        for length, name in sorted(found, reverse=True)[:8]:
            print(f"  {length:3} {name}")
    for problem in problems:
        print(f"FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
