package report

// Key is the secret of the envelope senders. All hosts of a site share it.
type Key []byte

// LoadKey reads the key file at path: 64 hexadecimal digits. If there is no file, LoadKey creates one with a random key and mode 0600.
func LoadKey(path string) (Key, error) { return nil, nil }

// MAC returns the MAC of a report to a destination: 32 letters and digits in lower case. The case of the destination does not matter.
func (k Key) MAC(destination, id string) string { return "" }

// Verify reports whether mac is the MAC of a report to a destination. Case does not matter.
func (k Key) Verify(mac, destination, id string) bool { return false }

// EnvelopeSender returns the envelope sender of a report: r-MAC@domain.
func EnvelopeSender(mac, domain string) string { return "" }

// ParseEnvelopeSender returns the MAC in the recipient of a bounce, in lower case. ok is false if the recipient is not an envelope sender
// in this domain. Case does not matter.
func ParseEnvelopeSender(recipient, domain string) (mac string, ok bool) { return "", false }
