package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// family returns a process and its running descendants.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", all[i], all[i]))
		if err != nil {
			continue // it has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// cpuTime returns the processor time of processes, with a resolution of a nanosecond. The clock of a process has the number ^pid<<3 |
// 2: CPUCLOCK_SCHED in the kernel's include/linux/posix-timers_types.h.
func cpuTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		var ts unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil {
			return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
		}
		sum += time.Duration(ts.Nano())
	}
	return sum, nil
}

const (
	// quietTime is the time without work after which a server has finished. The journal collects messages for a shorter time, 200 ms.
	quietTime = 300 * time.Millisecond
	// quietWork is the processor time in quietTime that timers may take.
	quietWork = 3 * time.Millisecond
	// maxWork is the maximum time to wait for the end of the work.
	maxWork = 30 * time.Second
)

// finished waits until the processes have finished the work that follows the messages, such as writing a journal, and returns their
// processor time.
func finished(pids []int) (time.Duration, error) {
	now, err := cpuTime(pids)
	for until := time.Now().Add(maxWork); err == nil && len(pids) > 0 && time.Now().Before(until); {
		time.Sleep(quietTime)
		before := now
		if now, err = cpuTime(pids); now-before < quietWork {
			break
		}
	}
	return now, err
}

// timed measures the duration of f, and the processor time of the processes for each of the messages, whose number f returns. Work that
// they do after the last reply counts as processor time, but not in the duration.
func timed(pids []int, f func() (messages int, err error)) (figure, error) {
	before, err := cpuTime(pids)
	if err != nil {
		return figure{}, err
	}
	start := time.Now()
	n, err := f()
	elapsed := time.Since(start)
	if err != nil {
		return figure{}, err
	}
	after, err := finished(pids)
	return figure{messages: n, elapsed: elapsed, cpu: (after - before) / time.Duration(n)}, err
}

// resetPeak resets the peak memory of processes to their current memory: "5" in clear_refs, proc(5).
func resetPeak(pids []int) error {
	for _, pid := range pids {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
			return err
		}
	}
	return nil
}

// peakMemory returns the maximum memory that processes used, in bytes. Memory that a child shares with its parent is counted only for
// the parent.
func peakMemory(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		peak, err := statusLine(pid, "status", "VmHWM")
		if err != nil {
			return 0, err
		}
		parent, err := statusLine(pid, "status", "PPid")
		if err != nil {
			return 0, err
		}
		if slices.Contains(pids, int(parent)) {
			shared, err := sharedMemory(pid)
			if err != nil {
				return 0, err
			}
			peak = max(peak-shared, 0)
		}
		sum += peak
	}
	return sum, nil
}

// sharedMemory returns the memory that a process shares with others, in bytes.
func sharedMemory(pid int) (int64, error) {
	clean, err := statusLine(pid, "smaps_rollup", "Shared_Clean")
	if err != nil {
		return 0, err
	}
	dirty, err := statusLine(pid, "smaps_rollup", "Shared_Dirty")
	return clean + dirty, err
}

// residentMemory returns the memory that processes use now, in bytes.
func residentMemory(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		n, err := statusLine(pid, "status", "VmRSS")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// statusLine returns the number in a line of a file of /proc/PID. A number in kB is converted to bytes.
func statusLine(pid int, file, name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	words := strings.Fields(line)
	if !found || len(words) == 0 {
		return 0, fmt.Errorf("/proc/%d/%s has no %s", pid, file, name)
	}
	n, err := strconv.ParseInt(words[0], 10, 64)
	if len(words) > 1 && words[1] == "kB" {
		n <<= 10
	}
	return n, err
}
