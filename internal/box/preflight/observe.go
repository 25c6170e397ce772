package preflight

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Observe fills in what can be read from the machine itself. home need not exist yet.
func Observe(home string) Facts {
	f := Facts{
		UID: os.Getuid(), Arch: runtime.GOARCH, Home: home,
		Closed: closed(home),
		Memory: memory(text("/proc/meminfo")), Disk: free(home),
		SubUID: text("/etc/subuid"), SubGID: text("/etc/subgid"),
		Filesystems: text("/proc/filesystems"), Modules: exists("/proc/modules"),
		LoopControl: exists("/dev/loop-control"), UserNS: -1,
		Cgroups: strings.Contains(text("/proc/cgroups"), "memory") || strings.Contains(text("/sys/fs/cgroup/cgroup.controllers"), "memory"),
	}
	if exists("/proc/self/ns/user") {
		f.UserNS = 1
		if n, err := strconv.ParseInt(strings.TrimSpace(text("/proc/sys/user/max_user_namespaces")), 10, 64); err == nil {
			f.UserNS = n
		}
	}
	_, err := exec.LookPath("apt-get")
	f.OS, f.Debian, f.Ubuntu = system(text("/etc/os-release"))
	f.Debian = f.Debian && err == nil
	if out, err := exec.Command("go", "env", "GOVERSION").Output(); err == nil {
		f.Go = strings.TrimSpace(string(out))
	}
	return f
}

// GoProxy checks that the Go modules can be downloaded: that the first proxy of the list
// answers at all.
func GoProxy(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOPROXY").Output()
	if err != nil {
		return fmt.Errorf("cannot ask go for its proxy: %w", err)
	}
	first := strings.FieldsFunc(strings.TrimSpace(string(out)), func(r rune) bool { return r == ',' || r == '|' })
	if len(first) == 0 || !strings.HasPrefix(first[0], "http") {
		return nil // direct, off or a folder: go itself says more
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(first[0], "/")+"/github.com/spf13/cobra/@v/v1.10.2.info", nil)
	if err != nil {
		return fmt.Errorf("cannot read GOPROXY %q: %w", first[0], err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("cannot reach the Go module proxy: %w", err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the Go module proxy %s answers %s", first[0], res.Status)
	}
	return nil
}

func text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// system reads os-release (os-release(5)): the system's name for people, and whether it is
// Debian or made of Debian, or Ubuntu or made of that.
func system(release string) (name string, debian, ubuntu bool) {
	fields := map[string]string{}
	for line := range strings.Lines(release) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[key] = strings.Trim(value, `"'`)
		}
	}
	is := append(strings.Fields(fields["ID_LIKE"]), fields["ID"])
	ubuntu = slices.Contains(is, "ubuntu")
	debian = slices.Contains(is, "debian") && !ubuntu
	return cmp.Or(fields["PRETTY_NAME"], fields["ID"], "an unknown system"), debian, ubuntu
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// memory reads MemAvailable of /proc/meminfo, in bytes.
func memory(meminfo string) uint64 {
	for line := range strings.Lines(meminfo) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseUint(f[1], 10, 64)
			if err == nil {
				return kib * 1024
			}
		}
	}
	return 0
}

// free returns the bytes that root may write below a folder, or its nearest parent.
func free(dir string) uint64 {
	for !exists(dir) && dir != "/" {
		dir = filepath.Dir(dir)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0
	}
	return s.Bavail * uint64(s.Bsize)
}

// closed returns the nearest folder at or above dir that others may not pass through. One
// that is not there yet will be open.
func closed(dir string) string {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
			return dir
		}
	}
	return ""
}
