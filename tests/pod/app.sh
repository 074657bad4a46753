# The application of tests/pod.rs: one JSON line every tenth of a second, and a last one when it is
# told to stop. Runs in busybox, alone in its image.
n=0
running=yes
trap 'running=' TERM
write() {
    n=$((n + 1))
    printf '{"timestamp":"2026-11-24T08:00:00.%03d","level":"info","n":%d,"message":"%s"}\n' \
        $((n % 1000)) "$n" "$1" >>"$LOG_FILE"
}
while [ "$running" ]; do
    write "working"
    busybox sleep 0.1
done
write "last words"
