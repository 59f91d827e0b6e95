package main

import "testing"

// The page has the name of the processor and the flags that affect cryptography. A flag is a whole word of the list.
func TestProcessor(t *testing.T) {
	for _, c := range []struct{ cpuinfo, name, flags string }{
		{"processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 aes adx bmi2 sha_ni vaes\nbugs\t\t: spectre_v1\n\n" +
			"processor\t: 1\nmodel name\t: other\nflags\t\t: avx512ifma\n",
			"AMD EPYC (family 25, model 1)", "Processor flags that affect cryptography: adx, aes, avx2, bmi2, sha_ni, vaes; missing: avx512ifma."},
		{"model name\t: Old\nflags\t\t: fpu avx2x\n", "Old", "Processor flags that affect cryptography: none; missing: adx, aes, avx2, avx512ifma, bmi2, sha_ni, vaes."},
		{"processor\t: 0\nFeatures\t: fp asimd aes sha1 sha2\nCPU part\t: 0xd0c\n", "an unknown processor",
			"Processor flags that affect cryptography: aes, sha2; missing: none."},
	} {
		if name, flags := processor(c.cpuinfo); name != c.name || flags != c.flags {
			t.Errorf("%q: %q, %q", c.cpuinfo, name, flags)
		}
	}
}
