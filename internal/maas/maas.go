// Package maas is the little that we need of MAAS's API 2.0.
//
// Machines are asked for, and changed, by github.com/canonical/gomaasclient (see with, which
// adds the context and the timeout that it lacks). The rest is written by hand: that
// library knows no region controllers, no forced delete and no storage layouts, and cannot
// clear a field. The tests hold the stand-in (package maastest) against it.
package maas

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// timeout bounds one request. listTimeout is that for the list of machines, which is long in a
// large MAAS; MAAS's own proxy waits 15 minutes (regiond.nginx.conf.template).
const timeout, listTimeout = time.Minute, 5 * time.Minute

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 256 << 20

// Client talks to one region as one user. It is made by New.
type Client struct {
	at   string // …/MAAS/
	root string // …/MAAS/api/2.0/
	auth string // the header; empty for no one
	key  []string
	http *http.Client
	// how long the answer to one request may take
	limit, listLimit time.Duration
}

// New returns a client for the region at address (like http://10.0.0.1:5240/MAAS). The key is
// one as `maas apikey` prints it, consumer:token:secret; an empty one is for Version only.
func New(address, key string) (*Client, error) {
	at, err := url.Parse(address)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("cannot use MAAS at %q: wanted a URL like http://maas.example:5240/MAAS", address)
	}
	base := strings.TrimSuffix(at.String(), "/") + "/"
	c := &Client{
		at: base, root: base + "api/2.0/",
		limit: timeout, listLimit: listTimeout,
		// A region is asked directly: the machine's proxy is for archives.
		http: &http.Client{
			Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if key == "" {
		return c, nil
	}
	c.key = strings.Split(key, ":")
	if len(c.key) != 3 || !keyPart.MatchString(c.key[0]) || !keyPart.MatchString(c.key[1]) || !keyPart.MatchString(c.key[2]) {
		return nil, errors.New("cannot use the MAAS API key: wanted three parts with colons, as `maas apikey` prints it")
	}
	// The consumer's secret is always empty (src/apiclient/creds.py in MAAS's source).
	c.auth = fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s"`, c.key[0], c.key[1], c.key[2])
	return c, nil
}

// Pin has the client take that server certificate (PEM, the server's own first) and no other,
// whatever name it is for.
func (c *Client) Pin(certificate []byte) error {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != "CERTIFICATE" {
		return errors.New("cannot use MAAS's certificate: it is no PEM: look at maas config-tls")
	}
	c.http.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // the certificate itself is compared
		VerifyConnection: func(s tls.ConnectionState) error {
			if !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("the server has another certificate than MAAS wrote on this machine")
			}
			return nil
		},
	}}
	return nil
}

// Secure returns the https:// URL that MAAS redirects the API to once it has TLS; "" where it
// redirects to none.
func (c *Client) Secure(ctx context.Context) string {
	var moved *Error
	err := c.do(ctx, http.MethodGet, "version/", nil, nil, new(string))
	if !errors.As(err, &moved) || !strings.HasPrefix(moved.Location, "https://") {
		return ""
	}
	return strings.TrimSuffix(moved.Location, "/api/2.0/version/")
}

// Lives reports whether regiond answers, also where TLS keeps the API from this address: MAAS answers
// racks without TLS (src/maasserver/templates/http/regiond.nginx.conf.template), and nginx, which
// stands in front of regiond, answers everything else itself then.
func (c *Client) Lives(ctx context.Context) bool {
	var info struct {
		EventLoops map[string]any `json:"eventloops"`
	}
	return c.send(ctx, http.MethodGet, c.at+"rpc/", "GET rpc/", nil, &info) == nil && info.EventLoops != nil
}

// keyPart is a part of a key: letters and digits, as MAAS makes them.
var keyPart = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// Error is what MAAS refused with.
type Error struct {
	Status int    // HTTP's
	Said   string // its own words
	// Location is where a redirection leads to. None is followed: a POST would become a GET.
	Location string
}

func (e *Error) Error() string {
	if at, err := url.Parse(e.Location); err == nil && at.Scheme == "https" {
		return fmt.Sprintf("MAAS answers %d: it has TLS: use https://%s/MAAS as its address", e.Status, at.Host)
	}
	return fmt.Sprintf("MAAS answers %d: %s", e.Status, e.Said)
}

// IsStatus reports whether an error is MAAS's refusal with that status.
func IsStatus(err error, status int) bool {
	var refused *Error
	return errors.As(err, &refused) && refused.Status == status
}

// do sends one request and decodes its answer; into is a pointer for JSON, *string for
// text, nil for neither.
func (c *Client) do(ctx context.Context, method, path string, query, form url.Values, into any) error {
	at := c.root + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	return c.send(ctx, method, at, method+" "+path, form, into)
}

// send is do for any address; what names the request in errors.
func (c *Client) send(ctx context.Context, method, at, what string, form url.Values, into any) error {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, at, body)
	if err != nil {
		return fmt.Errorf("cannot ask MAAS (%s): %w", what, err)
	}
	// So that nothing waits for a nonce of OAuth: each request has its own moment.
	if c.auth != "" {
		now := time.Now()
		request.Header.Set("Authorization", fmt.Sprintf(`%s, oauth_timestamp="%d", oauth_nonce="%d"`, c.auth, now.Unix(), now.UnixNano()))
	}
	request.Header.Set("Accept", "application/json")
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask MAAS (%s): %w", what, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("cannot read MAAS's answer to %s: %w", what, err)
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("cannot ask MAAS (%s): %w", what, &Error{answer.StatusCode, c.complaint(text), answer.Header.Get("Location")})
	}
	switch into := into.(type) {
	case nil:
		return nil
	case *string:
		*into = strings.TrimSpace(string(text))
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("cannot read MAAS's answer to %s: %w", what, err)
	}
	return nil
}

// complaint makes one line of a refusal, without the key.
func (c *Client) complaint(text []byte) string {
	said := strings.Join(strings.Fields(string(text)), " ")
	for _, part := range c.key {
		said = strings.ReplaceAll(said, part, "…")
	}
	if len(said) > 300 {
		said = strings.ToValidUTF8(said[:300], "") + "…"
	}
	return said
}

// Version returns the region's version, like "3.7.3". It wants no key: it is how one sees
// that a region answers.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	if err := c.do(ctx, http.MethodGet, "version/", nil, nil, &v); err != nil {
		return "", err
	}
	if v.Version == "" {
		return "", errors.New("cannot read MAAS's version: its answer names none")
	}
	return v.Version, nil
}

// Controller is a rack or a region as MAAS lists it.
type Controller struct {
	SystemID string    `json:"system_id"`
	Hostname string    `json:"hostname"`
	FQDN     string    `json:"fqdn"`
	Version  string    `json:"version"`
	NodeType int       `json:"node_type"` // 2 a rack, 3 a region, 4 both
	Services []Service `json:"service_set"`
}

// Service is one of a rack's; regions list none.
type Service struct {
	Name   string `json:"name"`
	Status string `json:"status"` // running, degraded, dead, off, unknown
}

// State reports how MAAS sees a controller: the status of its rackd, or "" for a region
// alone.
func (c Controller) State() string {
	for _, s := range c.Services {
		if s.Name == "rackd" {
			return s.Status
		}
	}
	return ""
}

// Trouble lists what MAAS says is wrong with a rack: "dead" or "degraded" where its rackd is,
// and each other service with that status. It is empty for one that is in order.
func (c Controller) Trouble() []string {
	var all []string
	for _, s := range c.Services {
		switch {
		case s.Status != "dead" && s.Status != "degraded":
		case s.Name == "rackd":
			all = append([]string{s.Status}, all...)
		default:
			all = append(all, s.Name+" "+s.Status)
		}
	}
	return all
}

// Racks lists the rack controllers, those that are regions too included.
func (c *Client) Racks(ctx context.Context) ([]Controller, error) {
	var all []Controller
	return all, c.do(ctx, http.MethodGet, "rackcontrollers/", nil, nil, &all)
}

// Regions lists the region controllers.
func (c *Client) Regions(ctx context.Context) ([]Controller, error) {
	var all []Controller
	return all, c.do(ctx, http.MethodGet, "regioncontrollers/", nil, nil, &all)
}

// DeleteRack takes a rack controller out of MAAS; one that is not there is no error. MAAS
// refuses (400) to lose the only rack that serves DHCP on a VLAN, unless it is forced, which
// ends DHCP there. A rack that is connected forgets MAAS's secret by it, and is out until it
// is registered again.
func (c *Client) DeleteRack(ctx context.Context, systemID string, force bool) error {
	return c.delete(ctx, "rackcontrollers/", systemID, force)
}

// DeleteRegion takes a region controller out of MAAS; MAAS refuses as long as it runs.
func (c *Client) DeleteRegion(ctx context.Context, systemID string) error {
	return c.delete(ctx, "regioncontrollers/", systemID, false)
}

func (c *Client) delete(ctx context.Context, kind, systemID string, force bool) error {
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	err := c.do(ctx, http.MethodDelete, kind+url.PathEscape(systemID)+"/", query, nil, nil)
	if IsStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

func op(name string) url.Values { return url.Values{"op": {name}} }

// SetConfig sets one of MAAS's own settings (like ntp_servers).
func (c *Client) SetConfig(ctx context.Context, name, value string) error {
	return c.do(ctx, http.MethodPost, "maas/", op("set_config"), url.Values{"name": {name}, "value": {value}}, new(string))
}

// Config returns one of MAAS's own settings as text; "" when it is not set.
func (c *Client) Config(ctx context.Context, name string) (string, error) {
	query := op("get_config")
	query.Set("name", name)
	var value any
	if err := c.do(ctx, http.MethodGet, "maas/", query, nil, &value); err != nil || value == nil {
		return "", err
	}
	return fmt.Sprint(value), nil
}
