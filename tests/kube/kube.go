// Package kube runs a real Kubernetes API on this machine: etcd, kube-apiserver and the parts
// of kube-controller-manager that make the tokens of service accounts and take namespaces away.
// There are no nodes, so nothing that is asked of it ever runs.
package kube

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/tests/testbed"
)

const token = "an-administrator" // of a Kubernetes that lives as long as the test

// Kubernetes is one that runs.
type Kubernetes struct {
	Config string // of its administrator, for kubectl and the like

	server, ca string
}

// Start builds one and starts it on an address of this machine. It ends with the test whole,
// of which t may be a part.
func Start(t, whole testing.TB, box testbed.Box, address string) Kubernetes {
	t.Helper()
	dir := whole.TempDir()
	run := func(limit time.Duration, in string, line string, args ...string) {
		t.Helper()
		testbed.Run(t, limit, "sh", append([]string{"-c", `cd "$0" && ` + line, in}, args...)...)
	}
	began := time.Now()
	run(25*time.Minute, filepath.Join(box.Repo, "tests/testbed/kube"),
		`GOWORK=off GOFLAGS=-mod=readonly go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$1/" k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager`, dir)
	t.Logf("kube-apiserver and kube-controller-manager built in %s", time.Since(began).Round(time.Second))
	run(5*time.Minute, dir, `apt-get download -qq -o APT::Sandbox::User=root etcd-server && dpkg -x etcd-server_*.deb etcd`)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sa.key"), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(token+`,admin,admin,"system:masters"`+"\n"), 0o600))

	ports := free(t, address, 3)
	start(t, whole, dir, "etcd/usr/bin/etcd", "--data-dir", "etcd/data",
		"--listen-client-urls", "http://127.0.0.1:"+ports[0], "--advertise-client-urls", "http://127.0.0.1:"+ports[0],
		"--listen-peer-urls", "http://127.0.0.1:"+ports[1])
	start(t, whole, dir, "kube-apiserver", "--etcd-servers=http://127.0.0.1:"+ports[0],
		"--bind-address="+address, "--advertise-address="+address, "--secure-port="+ports[2], "--cert-dir=certs",
		"--service-account-key-file=sa.key", "--service-account-signing-key-file=sa.key",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.152.183.0/24",
		"--token-auth-file=tokens.csv", "--authorization-mode=RBAC")
	k := Kubernetes{server: "https://" + net.JoinHostPort(address, ports[2]), ca: filepath.Join(dir, "certs/apiserver.crt")}
	box.Eventually(t, 2*time.Minute, "the Kubernetes API", func() (bool, string) {
		out, err := k.get("/readyz")
		return err == nil, fmt.Sprint(out, err)
	})
	ca, err := os.ReadFile(k.ca)
	require.NoError(t, err)
	k.Config = fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: juju-cluster, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: juju-context, context: {cluster: juju-cluster, user: admin}}]
current-context: juju-context
users: [{name: admin, user: {token: %s}}]
`, k.server, base64.StdEncoding.EncodeToString(ca), token)
	path := filepath.Join(dir, "kubeconfig")
	require.NoError(t, os.WriteFile(path, []byte(k.Config), 0o600))
	start(t, whole, dir, "kube-controller-manager", "--kubeconfig="+path, "--leader-elect=false", "--secure-port=0",
		// Juju deletes a namespace together with what hangs on it, which is the last one's work.
		"--controllers=serviceaccount-token-controller,serviceaccount-controller,namespace-controller,garbage-collector-controller",
		"--service-account-private-key-file=sa.key", "--root-ca-file=certs/apiserver.crt")
	return k
}

// Get asks for a path of the API, and returns the JSON.
func (k Kubernetes) Get(t testing.TB, path string) string {
	t.Helper()
	out, err := k.get(path)
	require.NoError(t, err)
	return out
}

func (k Kubernetes) get(path string) (string, error) {
	ca, err := os.ReadFile(k.ca)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	request, err := http.NewRequest(http.MethodGet, k.server+path, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s says %s: %s", path, response.Status, text)
	}
	return string(text), err
}

// free returns ports that no one has right now.
func free(t testing.TB, address string, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// start starts a program of a folder there, until the whole test ends; what it says is shown
// when that has failed.
func start(t, whole testing.TB, dir, program string, args ...string) {
	t.Helper()
	name := filepath.Base(program)
	log, err := os.Create(filepath.Join(dir, name+".log"))
	require.NoError(t, err)
	cmd := exec.Command(filepath.Join(dir, program), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	require.NoError(t, cmd.Start())
	whole.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && whole.Failed() {
			whole.Logf("%s said at last:\n%s", name, text[max(0, len(text)-2000):])
		}
	})
}
