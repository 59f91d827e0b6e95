package main

import (
	"fmt"
	"slices"
	"strings"
)

// cryptoFlags returns the flags of x86 processors that affect the speed of RSA and SHA-256, in Go or in OpenSSL.
func cryptoFlags() []string {
	return []string{"adx", "aes", "avx2", "avx512ifma", "bmi2", "sha_ni", "vaes"}
}

// processor returns the name of the first processor in /proc/cpuinfo, and a sentence with its flags that affect cryptography. The numbers
// of family and model follow the name, because the name in a virtual machine may be shared by several generations.
func processor(cpuinfo string) (name, flags string) {
	first, _, _ := strings.Cut(cpuinfo, "\n\n")
	values := map[string]string{}
	for line := range strings.Lines(first) {
		if key, value, found := strings.Cut(line, ":"); found {
			values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	name = values["model name"]
	if name == "" {
		name = "an unknown processor"
	}
	if family := values["cpu family"]; family != "" {
		name += fmt.Sprintf(" (family %s, model %s)", family, values["model"])
	}
	has := strings.Fields(values["flags"] + values["Features"]) // ARM's are called features
	known := cryptoFlags()
	if values["flags"] == "" {
		known = []string{"aes", "sha2"}
	}
	lacks := func(flag string) bool { return !slices.Contains(has, flag) }
	missing := slices.DeleteFunc(slices.Clone(known), func(flag string) bool { return !lacks(flag) })
	present := slices.DeleteFunc(known, lacks)
	return name, fmt.Sprintf("Processor flags that affect cryptography: %s; missing: %s.", listed(present), listed(missing))
}

// listed joins words with commas.
func listed(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
