#!/bin/sh
# Prints the length of the longest line of each file. Run on nodes by
# programs.py, or by the gdispy command.
for file in "$@"; do
    awk '{ if (length($0) > longest) longest = length($0) }
         END { print FILENAME, longest + 0 }' "$file" || exit 1
done
