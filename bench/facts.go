package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// facts say where and on what the numbers were made.
type facts struct {
	date, machine, commit, compiler string
	versions                        []string
}

func findFacts() (f facts, err error) {
	f.date = time.Now().UTC().Format("2 January 2006")
	f.compiler = runtime.Version()
	if f.commit, err = output("git", "describe", "--always", "--dirty"); err != nil {
		return f, err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return f, err
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return f, err
	}
	_, rest, _ := strings.Cut(string(cpu), "model name\t: ")
	model, _, _ := strings.Cut(rest, "\n")
	debian, err := os.ReadFile("/etc/debian_version")
	if err != nil {
		return f, err
	}
	f.machine = fmt.Sprintf("%d cores of %s, Linux %s, Debian %s.", runtime.NumCPU(), model, unix.ByteSliceToString(kernel.Release[:]), strings.TrimSpace(string(debian)))
	for _, p := range []string{"opendkim", "opendmarc", "rspamd", "dkimpy-milter", "postfix"} {
		version, err := output("dpkg-query", "-W", "-f", "${Version}", p)
		if err != nil {
			return f, err
		}
		f.versions = append(f.versions, p+" "+version)
	}
	return f, nil
}

func output(argv ...string) (string, error) {
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
