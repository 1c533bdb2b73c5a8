#!/bin/sh
# For those who know GNU parallel and xargs: from_parallel.sh DIRECTORY
set -eu
cd "$1"
# parallel 'echo {#}: {.}' ::: a.txt b.txt
gdispy --local echo '{#}: {.}' ::: a.txt b.txt
# parallel wc -w ::: *.txt           (the files are sent to the nodes)
gdispy --local -f '{}' wc -w '{}' ::: *.txt
# parallel --tag echo {1}-{2} ::: a b ::: 1 2
gdispy --local --tag echo '{1}-{2}' ::: a b ::: 1 2
# seq 3 | xargs -n 1 -P 2 expr 10 +
seq 3 | gdispy --local -j 2 -a - expr 10 +
