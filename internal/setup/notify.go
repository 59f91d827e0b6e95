package setup

import (
	"io"
	"net"
	"os"
	"time"
)

// notifyTimeout limits the time for a notification, because the queue of the service manager's socket may be full.
const notifyTimeout = 5 * time.Second

// NotifySocket returns the path of the service manager's socket, or "" if there is no service manager.
func NotifySocket() string { return os.Getenv("NOTIFY_SOCKET") }

// Notify sends a state to the service manager: sd_notify(3). If the socket is "", it does nothing.
func Notify(socket, state string) error {
	if socket == "" {
		return nil
	}
	c, err := net.DialTimeout("unixgram", socket, notifyTimeout) // a name that begins with @ means an abstract socket, for systemd as well as for Dial
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(notifyTimeout)) // an open socket always accepts a deadline
	_, err = io.WriteString(c, state)
	return err
}
