// Package image makes the machine image: what a Juju machine of the box boots.
//
// It is Debian under Ubuntu's name, as no Ubuntu is to be had where the box must be able
// to grow: Juju reads os-release and finds the base that it asked for.
package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/box/lxdbuild"
	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// Suite is the release of Debian that the image is made from.
const Suite = "bookworm"

// Base is a base of Ubuntu under which the image is offered.
type Base struct{ Version, Codename, Name string }

// Noble is the base that the box's machines have.
var Noble = Base{"24.04", "noble", "Noble Numbat"}

// Alias is the name under which Juju looks for an image of the base before it asks any
// image server.
func (b Base) Alias() string { return "juju/ubuntu@" + b.Version + "/amd64" }

// packages are what an Ubuntu server image has that Juju, cloud-init and the charms rely
// on. Without udev, networkd leaves eth0 pending for ever.
var packages = []string{
	"systemd-sysv", "systemd-resolved", "udev", "dbus", "kmod", "procps",
	"iproute2", "iputils-ping", "bridge-utils", "ethtool", "netcat-openbsd",
	"openssh-server", "sudo", "curl", "tmux", "jq", "gnupg", "ca-certificates",
	"cloud-init", "python3-minimal", "lsb-release", "locales", "rsyslog",
	"python3-cffi-backend", // debootstrap does not see what only provides a dependency
	// As on an Ubuntu server, LXD is there.
	"lxd", "lxd-client", "dnsmasq-base", "squashfs-tools", "nftables", "attr", "rsync",
	// What Juju's agent is linked with.
	"libuv1", "liblz4-1", "libsqlite3-0",
	// From which images for instances inside the nested LXD are made.
	"busybox-static",
}

//go:embed all:rootfs
var overlay embed.FS

// recipe changes when the steps below do, so that images made by older ones are not used.
const recipe = "1"

// Image is what a machine image is made of.
type Image struct {
	Base Base
	// LXD is the folder with the commands lxd and lxc that take the place of Debian's; its
	// name says what they were built from. "" for Debian's own.
	LXD string
}

// Key names the image by all that it is made of.
func (i Image) Key() string {
	h := sha256.New()
	fmt.Fprintln(h, recipe, Suite, i.Base, packages)
	if i.LXD != "" {
		fmt.Fprintln(h, filepath.Base(i.LXD))
	}
	_ = fs.WalkDir(overlay, "rootfs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := overlay.ReadFile(path)
		fmt.Fprintln(h, path, len(data))
		h.Write(data)
		return err
	})
	return "image-" + i.Base.Version + "-" + hex.EncodeToString(h.Sum(nil))[:12]
}

// Files are the two halves of an LXD image.
type Files struct{ Metadata, Rootfs string }

// In returns where the image's files are in a cache folder, and whether they are there.
func (i Image) In(cache string) (Files, bool) {
	dir := filepath.Join(cache, i.Key())
	_, err := os.Stat(dir)
	return Files{filepath.Join(dir, "metadata.tar"), filepath.Join(dir, "rootfs.squashfs")}, err == nil
}

// Make makes the image from a Debian mirror in the cache folder. It needs about 1.5 GB
// there while it works, and leaves 150 MB.
func (i Image) Make(ctx context.Context, cache, mirror string, log io.Writer) error {
	work, err := os.MkdirTemp(cache, "tmp-image-")
	if err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	defer os.RemoveAll(work)
	root, out := filepath.Join(work, "rootfs"), filepath.Join(work, "out")
	for _, dir := range []string{root, out} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make the image: %w", err)
		}
	}
	run := func(args ...string) error {
		// In namespaces of its own: what is mounted and started there ends with it, even
		// when it is killed.
		own := []string{"unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL"}
		_, err := proc.Run(ctx, proc.Cmd{Args: append(own, args...), Log: log, Env: []string{
			"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "HOME=/root",
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		}})
		return err
	}
	if err := run("debootstrap", "--variant=minbase", "--include="+strings.Join(packages, ","), Suite, root, mirror); err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	if err := dress(root, i.Base); err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	if err := i.replaceLXD(root); err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	for _, args := range [][]string{
		// Juju's cloud-init lets this user own its log of Ubuntu's.
		{"chroot", root, "useradd", "--system", "--no-create-home", "--user-group", "--shell", "/usr/sbin/nologin", "syslog"},
		{"systemctl", "--root=" + root, "enable", "systemd-networkd.service", "systemd-resolved.service", "ssh.service"},
		{"systemctl", "--root=" + root, "mask", "systemd-networkd-wait-online.service", "systemd-binfmt.service"},
		// No one waits for the machine's daily housekeeping.
		{"systemctl", "--root=" + root, "disable", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"},
		{"mksquashfs", root, filepath.Join(out, "rootfs.squashfs"), "-noappend", "-comp", "zstd", "-Xcompression-level", "3", "-no-progress"},
	} {
		if err := run(args...); err != nil {
			return fmt.Errorf("cannot make the image: %w", err)
		}
	}
	if err := writeMetadata(filepath.Join(out, "metadata.tar"), i.Base); err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	if err := os.Rename(out, filepath.Join(cache, i.Key())); err != nil {
		return fmt.Errorf("cannot make the image: %w", err)
	}
	return nil
}

// dress lays the files over the fresh root folder and takes away what must be each
// instance's own, or what no one reads there.
func dress(root string, base Base) error {
	err := fs.WalkDir(overlay, "rootfs", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(root, strings.TrimPrefix(path, "rootfs"))
		if d.IsDir() {
			return os.MkdirAll(to, 0o755)
		}
		data, err := overlay.ReadFile(path)
		if err != nil {
			return err
		}
		return replace(to, data, mode(path))
	})
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(root, "usr/lib/os-release"), osRelease(base), 0o644); err != nil {
		return err
	}
	if err := replace(filepath.Join(root, "etc/machine-id"), nil, 0o444); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(root, "etc/resolv.conf")); err != nil {
		return err
	}
	if err := os.Symlink("../run/systemd/resolve/stub-resolv.conf", filepath.Join(root, "etc/resolv.conf")); err != nil {
		return err
	}
	for _, pattern := range []string{
		"etc/ssh/ssh_host_*", "etc/hostname", "var/lib/dbus/machine-id",
		"var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*",
		"usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "var/log/*.log", "debootstrap",
	} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// replaceLXD puts the built commands in the place of those of Debian's packages, whose units
// and folders stay.
func (i Image) replaceLXD(root string) error {
	if i.LXD == "" {
		return nil
	}
	for _, name := range lxdbuild.Names {
		data, err := os.ReadFile(filepath.Join(i.LXD, name))
		if err != nil {
			return err
		}
		to := filepath.Join(root, "usr/bin", name)
		if _, err := os.Lstat(to); err != nil {
			return fmt.Errorf("cannot find Debian's %s: %w", name, err)
		}
		if err := replace(to, data, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file in the place of what is there; a link is not followed, as it
// would lead out of the root folder.
func replace(path string, data []byte, mode fs.FileMode) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return atomicfile.Write(path, data, atomicfile.Options{Mode: mode})
}

// mode is that of a file of the overlay, for which go:embed keeps none.
func mode(path string) fs.FileMode {
	if strings.HasPrefix(path, "rootfs/usr/local/lib/dcib/") {
		return 0o755
	}
	return 0o644
}

func osRelease(b Base) []byte {
	return fmt.Appendf(nil, `NAME="Ubuntu"
PRETTY_NAME="Ubuntu %[1]s (Debian under its name, for tests)"
ID=ubuntu
ID_LIKE=debian
VERSION_ID="%[1]s"
VERSION="%[1]s (%[3]s)"
VERSION_CODENAME=%[2]s
UBUNTU_CODENAME=%[2]s
`, b.Version, b.Codename, b.Name)
}

const hostname = "{{ container.name }}\n"

func metadata(b Base, made time.Time) string {
	return fmt.Sprintf(`architecture: x86_64
creation_date: %[4]d
properties:
  architecture: amd64
  os: ubuntu
  release: %[2]s
  version: "%[1]s"
  variant: default
  description: dcib test machine, Debian %[3]s as Ubuntu %[1]s
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
`, b.Version, b.Codename, Suite, made.Unix())
}

func writeMetadata(path string, base Base) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	now := time.Now()
	w := tar.NewWriter(f)
	for _, file := range []struct{ name, text string }{
		{"metadata.yaml", metadata(base, now)}, {"templates/hostname.tpl", hostname},
	} {
		if err := w.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(file.text)), ModTime: now}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, file.text); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Sync()
}
