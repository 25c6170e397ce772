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

// Socket is the socket on which LXD answers an instance's root about that instance.
// https://documentation.ubuntu.com/lxd/en/stable-5.0/dev-lxd/
const Socket = "/dev/lxd/sock"

// DevLXD reads from LXD about the instance of this process.
type DevLXD struct {
	Socket string // path of the unix socket
	Proc   string // the proc file system
}

// Limits of one request.
const (
	requestTimeout = 10 * time.Second
	maxAnswer      = 256 << 10 // bytes
)

// Instance returns the name of the instance; "" if this is no LXD instance, or one with
// security.devlxd=false.
func (d DevLXD) Instance(ctx context.Context) (string, error) {
	if _, err := os.Stat(d.Socket); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	// The host name may have been changed; LXD's data for cloud-init has not.
	metadata, err := d.get(ctx, "/1.0/meta-data")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(metadata) {
		if name, ok := strings.CutPrefix(line, "local-hostname:"); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", fmt.Errorf("cannot read this instance's name: LXD's meta-data on %s has no local-hostname", d.Socket)
}

// Started returns the start of the host and of the instance's first process, which differ after each start
// of the instance. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
func (d DevLXD) Started(context.Context) (string, error) {
	host, err := os.ReadFile(d.Proc + "/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read when this instance was started: %w", err)
	}
	stat, err := os.ReadFile(d.Proc + "/1/stat")
	if err != nil {
		return "", fmt.Errorf("cannot read when this instance was started: %w", err)
	}
	// The second field is a name in parentheses, which may contain spaces.
	const starttime = 22 - 3
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= starttime {
		return "", fmt.Errorf("cannot read when this instance was started: %s/1/stat is not as in proc_pid_stat(5)", d.Proc)
	}
	return strings.TrimSpace(string(host)) + " " + fields[starttime], nil
}

// Option returns the value of one of the instance's user.* options; "" if it is not set.
func (d DevLXD) Option(ctx context.Context, key string) (string, error) {
	value, err := d.get(ctx, "/1.0/config/"+url.PathEscape(key))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return value, err
}

// get sends an HTTP request; the error wraps fs.ErrNotExist if LXD has nothing at path.
func (d DevLXD) get(ctx context.Context, path string) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("cannot read %s of LXD on %s: %w", path, d.Socket, err)
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
