package send

import "golang.org/x/sys/unix"

const bootClock = unix.CLOCK_MONOTONIC // the uptime: clock_gettime(2)
