package setup

import (
	"strings"
	"testing"

	"signpost/internal/config"
	"signpost/keys"
)

// Each publish.method but manual has a publisher.
func TestPublishers(t *testing.T) {
	for _, method := range config.PublishMethods() {
		conf := config.Default()
		conf.Publish.Method = method
		_, err := Publisher(conf, "example.org", keys.Store{}, nil)
		if none := err != nil && strings.HasPrefix(err.Error(), "publish.method is "); none != (method == "manual") {
			t.Errorf("publish.method = %q: Publisher in internal/setup/keys.go returns %v", method, err)
		}
	}
}
