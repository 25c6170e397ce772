package region

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
	"github.com/dcib/dcib/internal/relation/maascontroller"
)

// Where the database is, as option `database` says it.
const (
	Embedded = "embedded"
	Relation = "relation"
)

// Config is the application's options.
type Config struct {
	Source        apt.Source
	URL           string // empty: made of an address
	Admin         string
	AdminPassword string // the id of a Juju secret; empty: one is made up
	TLS           string // the id of a Juju secret with a certificate; empty: TLS is not the charm's
	Database      string
	Settings      map[string]string // MAAS's own, by its names
	Images        []maas.Selection
	Machines      inventory.Declaration // what MAAS's machines are to be like
	Pets          []inventory.Pet
}

var userName = regexp.MustCompile(`^[a-zA-Z0-9_.@+-]{1,150}$`)

// ParseConfig reads options. The problems name the option, what was wrong with it and what
// would be right.
func ParseConfig(options map[string]any) (Config, []string) {
	var problems []string
	problemf := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	text := func(option string) string {
		s, _ := options[option].(string)
		return strings.TrimSpace(s)
	}
	list := func(option string) []string {
		return strings.FieldsFunc(text(option), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
	}
	c := Config{URL: strings.TrimSuffix(text("maas-url"), "/"), Admin: text("admin-username"), AdminPassword: text("admin-password"), TLS: text("tls-secret"), Database: text("database"), Settings: map[string]string{}}
	var err error
	if c.Source, err = apt.ParseSource(text("source")); err != nil {
		problemf("option source: %s", err)
	}
	if c.URL != "" {
		if err := maascontroller.CheckURL(c.URL); err != nil {
			problemf("option maas-url is %q: %s", c.URL, err)
		} else if at, err := url.Parse(c.URL); err == nil && strings.Contains(at.Hostname(), ":") {
			problemf("option maas-url is %q: MAAS looks its host up as an IPv4 address, and not as an IPv6 address: use a name or an IPv4 address", c.URL)
		}
	}
	if !userName.MatchString(c.Admin) {
		problemf("option admin-username is %q: use a name of letters, digits and @ . + - _", c.Admin)
	}
	if c.Database != Embedded && c.Database != Relation {
		problemf("option database is %q: use %s or %s", c.Database, Embedded, Relation)
	}
	proxy := text("http-proxy")
	// With a proxy both are always set, so that false is set again.
	for _, option := range []string{"use-peer-proxy", "boot-images-no-proxy"} {
		on, _ := options[option].(bool)
		switch {
		case proxy != "":
			c.Settings[strings.ReplaceAll(option, "-", "_")] = strconv.FormatBool(on)
		case on:
			problemf("option %s is true: set option http-proxy too, or set it to false", option)
		}
	}
	if proxy != "" {
		if err := maascontroller.CheckURL(proxy); err != nil {
			problemf("option http-proxy is %q: use one like http://proxy.example:3128", proxy)
		}
		c.Settings["http_proxy"], c.Settings["enable_http_proxy"] = proxy, "true"
	}
	if servers := list("ntp-servers"); len(servers) > 0 {
		for _, s := range servers {
			if _, err := netip.ParseAddr(s); err != nil && !hostName.MatchString(s) {
				problemf("option ntp-servers has %q: use host names or addresses", s)
			}
		}
		c.Settings["ntp_servers"] = strings.Join(servers, " ")
	}
	if servers := list("dns-forwarders"); len(servers) > 0 {
		for _, s := range servers {
			if _, err := netip.ParseAddr(s); err != nil {
				problemf("option dns-forwarders has %q: use addresses", s)
			}
		}
		c.Settings["upstream_dns"] = strings.Join(servers, " ")
	}
	for _, one := range list("boot-resources") {
		s, err := maas.ParseSelection(one)
		if err != nil {
			problemf("option boot-resources: %s", err)
		}
		if slices.ContainsFunc(c.Images, func(o maas.Selection) bool { return o.OS == s.OS && o.Release == s.Release }) {
			problemf("option boot-resources has %s/%s twice: join its architectures by +", s.OS, s.Release)
		}
		c.Images = append(c.Images, s)
	}
	if c.Machines, err = inventory.Parse([]byte(text("machines"))); err != nil {
		problemf("option machines: %s", err)
	}
	if c.Pets, err = inventory.ParsePets([]byte(text("pets"))); err != nil {
		problemf("option pets: %s", err)
	}
	return c, problems
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// urlOf is the address of MAAS on a machine.
func urlOf(address string) string {
	return "http://" + net.JoinHostPort(address, "5240") + "/MAAS"
}
