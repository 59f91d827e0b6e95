package dkim

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"signpost/internal/conformance"
)

const (
	// arcSuite stands beside the project, not in it: the validation cases of ValiMail's arc_test_suite.
	arcSuite = "../../../shared/suites/arc/validation-1-5.yml"
	// arcSuiteCases is how many cases it has. All of them agree.
	arcSuiteCases = 121
)

// RFC 8617 section 5.2, case by case. cv is empty in the cases whose sealer says cv=fail himself: the chain fails then,
// by step 2.
func TestARCValidationSuite(t *testing.T) {
	data, err := os.ReadFile(arcSuite)
	if err != nil {
		t.Fatalf("the ARC validation suite is needed for this test and is not there: %v", err)
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
			t.Fatal(err)
		}
		for name, c := range group.Tests {
			cases++
			want := Status(strings.ToLower(c.CV))
			if want == "" {
				want = Fail
			}
			got := suiteChain(t, c.Message, group.Records)
			if got.Status == want {
				agree++
			} else {
				t.Errorf("%s: %s (%s), want %s", name, got.Status, got.Reason, want)
			}
		}
	}
	conformance.Add(t, "arc-suite", "ARC validation suite (RFC 8617): %d of %d cases agree.", agree, cases)
	if cases != arcSuiteCases {
		t.Errorf("the suite has %d cases, not %d", cases, arcSuiteCases)
	}
}

func suiteChain(t *testing.T, message string, records map[string]string) Chain {
	t.Helper()
	fields, body, err := ReadMessage(strings.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	v := NewVerifier(fields, nil)
	if _, err := io.Copy(v, body); err != nil {
		t.Fatal(err)
	}
	return v.Chain(time.Unix(1_700_000_000, 0), zone(records))
}
