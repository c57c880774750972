#!/bin/sh
# Submits a job, polls `director --list-jobs` until it is final, prints what failed; the exit code is that of the job.
#   scripts/poll-job.sh 'RUN uptime' [OPTIONS OF A SUBMISSION]
# Needs a POSIX shell and director. INTERVAL (seconds) is the pause between two polls.
# Exit code: 0 success, 1 failed, 8 cancelled or incomplete; that of director when it refuses the submission.
set -eu

instruction=${1:?give an instruction, such as 'RUN uptime'}
shift
interval=${INTERVAL:-2}
key='[{,[:space:]]'    # stands before a key of JSON; inside a text the quote would have a backslash before it

id=$(director --exec "$instruction" "$@")
echo "job $id" >&2

while :; do
    code=0
    job=$(director --list-jobs "$id" --output json) || code=$?
    case $code in
        0) ;;
        3) job= ;;    # the server is away for a moment; the job is on its disk
        *) exit "$code" ;;
    esac
    if printf '%s' "$job" | grep -q "$key\"final\": *true"; then break; fi
    sleep "$interval"
done

state=$(printf '%s' "$job" | tr '\n' ' ' | sed -n "s/.*$key\"state\": *\"\([a-z]*\)\".*/\1/p")
echo "job $id: $state" >&2
case $state in
    success) exit 0 ;;
    failed) code=1 ;;
    *) code=8 ;;
esac
director --wait-job "$id" --output jsonl |
    grep -E "$key\"state\": *\"(failed|timeout|lost|cancelled|expired)\"" || true
exit "$code"
