package brokered

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Socket is where LXD speaks to an instance, about that instance alone and to its root
// alone. https://documentation.ubuntu.com/lxd/en/stable-5.0/dev-lxd/
const Socket = "/dev/lxd/sock"

// DevLXD asks LXD about the instance that this process runs in.
type DevLXD struct {
	Socket string // path of the unix socket
	Proc   string // where the kernel's proc file system is
}

// Bounds on one question.
const (
	requestTimeout = 10 * time.Second
	maxAnswer      = 256 << 10 // bytes
)

// Instance returns the name of the instance; "" when this is no LXD instance, or one that
// LXD does not speak to (security.devlxd=false).
func (d DevLXD) Instance(ctx context.Context) (string, error) {
	if _, err := os.Stat(d.Socket); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	// The host name may have been changed; what LXD tells cloud-init has not.
	metadata, err := d.get(ctx, "/1.0/meta-data")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(metadata) {
		if name, ok := strings.CutPrefix(line, "local-hostname:"); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", fmt.Errorf("cannot tell this instance's name: LXD's meta-data on %s has no local-hostname", d.Socket)
}

// Started tells one start of the instance from the next: by the host's start, and by when
// the instance's first process began. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func (d DevLXD) Started(context.Context) (string, error) {
	host, err := os.ReadFile(d.Proc + "/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell when this instance was started: %w", err)
	}
	stat, err := os.ReadFile(d.Proc + "/1/stat")
	if err != nil {
		return "", fmt.Errorf("cannot tell when this instance was started: %w", err)
	}
	// The second field is a name in parentheses, which may have spaces in it.
	const starttime = 22 - 3
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= starttime {
		return "", fmt.Errorf("cannot tell when this instance was started: %s/1/stat is not what proc_pid_stat(5) says", d.Proc)
	}
	return strings.TrimSpace(string(host)) + " " + fields[starttime], nil
}

// Option returns the value of one of the instance's user.* options; "" when it is not set.
func (d DevLXD) Option(ctx context.Context, key string) (string, error) {
	value, err := d.get(ctx, "/1.0/config/"+url.PathEscape(key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return value, err
}

// get asks with HTTP; fs.ErrNotExist (wrapped) when LXD has nothing there.
func (d DevLXD) get(ctx context.Context, path string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("cannot ask LXD for %s on %s: %w", path, d.Socket, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", d.Socket)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return fail(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://lxd"+path, nil)
	if err != nil {
		return fail(err)
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return fail(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return fail(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return fail(err)
	case response.StatusCode == http.StatusNotFound:
		return fail(fs.ErrNotExist)
	case response.StatusCode != http.StatusOK:
		return fail(fmt.Errorf("it answered %s: %s", response.Status, strings.TrimSpace(string(body))))
	}
	return string(body), nil
}
