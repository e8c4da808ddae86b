# usage: awk -f filter.awk HEADER - the header as Doxygen is to read it.
#
# A file comment says what holds under labels, with the text in a column of its own:
#
#      * Fairness   Barging: a strand that is running may ...
#      *            Waiters are served ...
#      * Context    Any strand.
#
# Each becomes a paragraph with a heading. What stands further to the right than that column, and what begins with
# a bar, is a table, and stays as it is. Members that are nobody's business are said to be private.

function flush_table() {
    if (in_table)
        line[previous] = line[previous] "\n@endverbatim"
    in_table = 0
}

{ line[NR] = $0 }

END {
    for (i = 1; i <= NR; i++) # the column: where the first text behind a label stands that is off by two
        if (match(line[i], /^ \* [A-Z][a-z]+  +[^ ]/)) {
            column = RLENGTH
            break
        }
    for (i = 1; i <= NR; i++) {
        text = line[i]
        if (text ~ /^ \* @file/)
            in_file = 1
        else if (text ~ /^ \*\//) {
            flush_table()
            in_file = in_label = 0
        } else if (in_file && match(text, /^ \* [A-Z][a-z]+ +[^ ]/) && RLENGTH == column) {
            flush_table()
            in_label = 1
            label = text
            sub(/^ \* /, "", label)
            sub(/ .*/, "", label)
            line[i] = " * @label{" label "} " substr(text, column)
        } else if (in_file && match(text, /^ \* +[^ ]/)) {
            if (text ~ /^ \* *\|/ || (in_label && RLENGTH > column + 1)) {
                line[i] = (in_table ? "" : "@verbatim\n") substr(text, 3)
                in_table = 1
                previous = i
            } else {
                flush_table()
                if (in_label) # after an empty line what is indented would be code
                    line[i] = " * " substr(text, RLENGTH)
            }
        } else if (in_file && in_table) { # an empty line, between two parts of a table or behind it
            line[i] = ""
        } else if (!in_file && text ~ /^    [^ \/*][^\/]*[ *]thrum_[a-z_]+(\[[0-9]+\])?(\)\([^()]*\))?;$/)
            line[i] = text " /**< private */"
    }
    for (i = 1; i <= NR; i++)
        print line[i]
}
