package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Files of maas-http, which is nginx in MAAS.
const (
	frontConf    = "/var/lib/maas/http/nginx.conf" // without it systemd passes over the service
	regionFront  = "/var/lib/maas/http/regiond.nginx.conf"
	rackFront    = "/var/lib/maas/http/rackd.nginx.conf"
	frontCert    = "/var/lib/maas/http/certs/regiond-proxy.pem"
	frontKey     = "/var/lib/maas/http/certs/regiond-proxy-key.pem"
	regionSocket = "/var/lib/maas/maas-regiond-webapp.sock"
)

// front is maas-http: it serves what regiond and rackd have configured on this machine, until it is
// told to read that again.
func front(ctx context.Context) error {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	for {
		servers, failed, err := serveFront()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-again:
		case err = <-failed:
		}
		for _, s := range servers {
			_ = s.Close()
		}
		if err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// serveFront starts the servers that are configured.
func serveFront() (servers []*http.Server, failed chan error, err error) {
	failed = make(chan error, 3)
	serve := func(port string, handler http.Handler, certificates ...tls.Certificate) {
		if err != nil {
			return
		}
		var listener net.Listener
		if listener, err = net.Listen("tcp", ":"+port); err != nil {
			return
		}
		if len(certificates) > 0 {
			listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: certificates})
		}
		s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		servers = append(servers, s)
		go func() {
			if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		}()
	}
	if _, absent := os.Stat(rackFront); absent == nil {
		serve("5248", http.NotFoundHandler()) // images, of which there are none
	}
	port, absent := os.ReadFile(regionFront)
	switch tlsPort := strings.TrimSpace(string(port)); {
	case absent != nil:
	case tlsPort == "":
		serve("5240", webapp())
	default:
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(frontCert, frontKey); err == nil {
			serve(tlsPort, webapp(), pair)
			serve("5240", plainBesideTLS(tlsPort, webapp()))
		}
	}
	return servers, failed, err
}

// webapp passes requests on to regiond; while that does not run, it answers 502 as nginx does.
func webapp() http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "regiond"})
	proxy.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", regionSocket)
		},
	}
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write([]byte("<html><head><title>502 Bad Gateway</title></head></html>\n"))
	}
	mux := http.NewServeMux()
	mux.Handle("/MAAS/", proxy)
	mux.Handle("/{$}", http.RedirectHandler("/MAAS/r/", http.StatusMovedPermanently))
	mux.Handle("/MAAS/{$}", http.RedirectHandler("/MAAS/r/", http.StatusMovedPermanently))
	return mux
}

// plainBesideTLS is what is left without TLS once MAAS has it: what racks and machines that boot
// want. All else is redirected (regiond.nginx.conf.template in MAAS's source).
func plainBesideTLS(port string, webapp http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, open := range []string{"/MAAS/rpc/", "/MAAS/metadata/", "/MAAS/api/2.0/machines", "/MAAS/images-stream", "/MAAS/boot-resources/", "/MAAS/maas-run-scripts"} {
			if strings.HasPrefix(req.URL.Path, open) {
				webapp.ServeHTTP(w, req)
				return
			}
		}
		if !strings.HasPrefix(req.URL.Path, "/MAAS") {
			http.NotFound(w, req)
			return
		}
		host := req.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		w.Header().Set("Location", "https://"+host+":"+port+req.URL.RequestURI())
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusMovedPermanently)
		_, _ = w.Write([]byte("<html><head><title>301 Moved Permanently</title></head></html>\n"))
	})
}

// secured is a certificate that maas config-tls has put into the database.
type secured struct {
	Port             int
	Certificate, Key string
}

// configureFront writes what maas-http serves of a region, and has it read that where it is new.
func configureFront(s *secured) error {
	port := ""
	changed := false
	put := func(path, content string, mode fs.FileMode) error {
		if has, err := os.ReadFile(path); err == nil && string(has) == content {
			return nil
		}
		changed = true
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(content), mode)
	}
	if s != nil {
		port = strconv.Itoa(s.Port)
		if err := errors.Join(put(frontCert, s.Certificate, 0o644), put(frontKey, s.Key, 0o600)); err != nil {
			return err
		}
	}
	if err := errors.Join(put(frontConf, "include *.nginx.conf;\n", 0o644), put(regionFront, port, 0o644)); err != nil {
		return err
	}
	if changed {
		reload("maas-http")
	}
	return nil
}

// supervise starts those services that do not run, as regiond and rackd do all the time with their
// own (service_monitor in MAAS's source). What cannot be started is tried again.
func supervise(services ...string) {
	// Its status is that of all of them, and 0 where one is active.
	out, _ := exec.Command("systemctl", append([]string{"is-active"}, services...)...).Output()
	for n, state := range strings.Fields(string(out)) {
		if state == "inactive" || state == "failed" {
			systemctl("start", services[n])
		}
	}
}

// reload has a service read its configuration, or start.
func reload(service string) {
	if exec.Command("systemctl", "is-active", service).Run() == nil {
		systemctl("reload", service)
		return
	}
	systemctl("start", service)
}

// systemctl does what sudo lets user maas do.
func systemctl(verb, service string) {
	if out, err := exec.Command("sudo", "-n", "/bin/systemctl", verb, service).CombinedOutput(); err != nil {
		fmt.Printf("cannot %s %s: %v: %s\n", verb, service, err, strings.TrimSpace(string(out)))
	}
}

// states reports whether each of some services is running or dead.
func states(services map[string]string) map[string]string {
	all := map[string]string{}
	for name, unit := range services {
		all[name] = "running"
		if exec.Command("systemctl", "is-active", unit).Run() != nil {
			all[name] = "dead"
		}
	}
	return all
}
