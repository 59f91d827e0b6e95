package dkim

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// suiteVar names a file of ValiMail's arc_test_suite, which is not part of the repository.
const suiteVar = "ARC_SUITE"

// RFC 8617 section 5.2, with the cases of ValiMail's suite. The suite leaves cv empty if the newest sealer wrote cv=fail. Such a chain
// fails in step 2. The cases in testdata/arc test the same rules without that file.
func TestARCValidationSuite(t *testing.T) {
	file := os.Getenv(suiteVar)
	if file == "" {
		t.Skipf("%s is not set to a file of the ARC validation suite, such as validation.yml", suiteVar)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%s: %v", suiteVar, err)
	}
	cases, agree := 0, 0
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var group struct {
			Tests map[string]struct {
				Message string
				CV      string `yaml:"cv"`
			}
			Records map[string]string `yaml:"txt-records"`
		}
		err := decoder.Decode(&group)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", suiteVar, err)
		}
		for name, c := range group.Tests {
			cases++
			want := Status(strings.ToLower(c.CV))
			if want == "" {
				want = Fail
			}
			got := chainOf(t, []byte(c.Message), zone(group.Records))
			if got.Status == want {
				agree++
			} else {
				t.Errorf("%s: %s (%s), want %s", name, got.Status, got.Cause, want)
			}
		}
	}
	if cases == 0 {
		t.Errorf("%s has no cases", file)
	}
	t.Logf("%d of %d cases agree", agree, cases)
}
