package setup

import (
	"strings"
	"testing"

	"signpost/internal/config"
	"signpost/keys"
)

// Each publish.method except manual has a publisher. Each requires at least one other key, which states where to publish.
func TestPublishers(t *testing.T) {
	for _, method := range config.PublishMethods() {
		conf := config.Default()
		conf.Publish.Method = method
		_, err := Publisher(conf, "example.org", keys.Store{}, nil)
		if _, err := config.Parse("f", []byte("[publish]\nmethod = \""+method+"\"\n")); (err == nil) != (method == "manual") {
			t.Errorf("publish.method = %q without other keys: %v; its required keys are in the function needs of internal/config/schema.go", method, err)
		}
		if none := err != nil && strings.HasPrefix(err.Error(), "publish.method is "); none != (method == "manual") {
			t.Errorf("publish.method = %q: Publisher in internal/setup/keys.go returns %v", method, err)
		}
	}
}
