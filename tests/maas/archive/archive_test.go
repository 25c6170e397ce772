package archive

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAptTakesIt has the machine's own apt read the archive, into folders of its own.
func TestAptTakesIt(t *testing.T) {
	for _, program := range []string{"apt-get", "dpkg-deb", "gpg"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("this machine has no " + program + ": apt-get install dpkg gnupg, on Debian or Ubuntu")
		}
	}
	repo, err := filepath.Abs("../../..")
	require.NoError(t, err)
	a := Serve(t, repo, "127.0.0.1", "3.7.2").Site("a")
	line, key, _ := strings.Cut(a.Source, "\n")
	require.Equal(t, a.Line, line)
	root := t.TempDir()
	for _, dir := range []string{"etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	keyring := filepath.Join(root, "key.asc")
	require.NoError(t, os.WriteFile(keyring, []byte(key), 0o644))
	sudo := "Package: sudo\nStatus: install ok installed\nMaintainer: a <a@a.example>\nArchitecture: amd64\nVersion: 1\nDescription: of the machine\n\n"
	require.NoError(t, os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), []byte(sudo), 0o644))
	list := filepath.Join(root, "etc/apt/sources.list")
	require.NoError(t, os.WriteFile(list, []byte(strings.Replace(line, "deb ", "deb [signed-by="+keyring+"] ", 1)+"\n"), 0o644))
	apt := func(args ...string) (string, error) {
		out, err := exec.Command("apt-get", append([]string{
			"-o", "Dir=" + root, "-o", "Dir::State::status=" + root + "/var/lib/dpkg/status", "-o", "APT::Sandbox::User=", "-o", "Dir::Etc::sourceparts=-",
			"-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=0",
		}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := apt("update")
	require.NoError(t, err, out)
	out, err = apt("--simulate", "install", "maas-region-api")
	require.NoError(t, err, out)
	require.Contains(t, out, "Inst maas-cli (1:3.7.2-0ubuntu1~standin1")
	require.NotContains(t, out, "maas-region-controller")
	a.Gone.Store(true)
	out, err = apt("update")
	require.Error(t, err, out)
}
