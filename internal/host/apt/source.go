package apt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/host/command"
)

// Source is where packages are from, as an option says it. The zero value is what the
// machine has.
type Source struct {
	PPA  string // "ppa:maas/3.7"
	Line string // "deb [trusted=yes] file:/srv/maas ./"
	Key  string // the archive's public key, armoured; empty without one
}

// keyBegin and keyEnd enclose an armoured key.
const (
	keyBegin = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
	keyEnd   = "-----END PGP PUBLIC KEY BLOCK-----"
)

var (
	ppa = regexp.MustCompile(`^ppa:([a-z0-9][a-z0-9.+-]*)/([a-z0-9][a-z0-9.+-]*)$`)
	// deb [options] URI suite components; a flat archive's suite ends in a slash and has
	// no components (sources.list(5)).
	line = regexp.MustCompile(`^deb(?:\s+\[([^\[\]\n]*)\])?\s+((?:https?|file|copy)://?[^\s\[\]]+)\s+(\S+)((?:\s+[A-Za-z0-9._-]+)*)$`)
)

// ParseSource reads an option: a PPA's name, a line as sources.list has it with the archive's
// armoured key on the lines after it, or nothing. The error says what would be right.
func ParseSource(text string) (Source, error) {
	const wanted = "use a PPA like ppa:maas/3.7, or a line like `deb https://archive.example/maas noble main` with the archive's armoured key on the lines after it, or nothing for what the machine has"
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	if text == "" {
		return Source{}, nil
	}
	if ppa.MatchString(text) {
		return Source{PPA: text}, nil
	}
	first, key, _ := strings.Cut(text, "\n")
	first, key = strings.TrimSpace(first), strings.TrimSpace(key)
	m := line.FindStringSubmatch(first)
	flat := m != nil && strings.HasSuffix(m[3], "/")
	switch {
	case m == nil:
		return Source{}, fmt.Errorf("its first line is %q: %s", shortened(first), wanted)
	case flat == (strings.TrimSpace(m[4]) != ""):
		return Source{}, fmt.Errorf("%q has no component after its suite (or one after a path): %s", shortened(first), wanted)
	case strings.Contains(m[2], "@"):
		return Source{}, errors.New("its URL has a user in it, which everyone could read: put the credentials into /etc/apt/auth.conf.d of the machines")
	case key != "" && (!strings.HasPrefix(key, keyBegin) || !strings.HasSuffix(key, keyEnd)):
		return Source{}, fmt.Errorf("what follows its first line is no armoured key (%s …): %s", keyBegin, wanted)
	}
	options, err := parseOptions(m[1])
	if err != nil {
		return Source{}, err
	}
	_, signed := options["signed-by"]
	switch local := strings.HasPrefix(m[2], "file:") || strings.HasPrefix(m[2], "copy:"); {
	case key != "" && signed:
		return Source{}, errors.New("it has both signed-by and a key: use one of them")
	case local: // the one who can write these files is root already
	case unauthenticated(options) != "":
		return Source{}, fmt.Errorf("its option %s lets anyone on the network install packages: remove it, and put the archive's armoured key on the lines after the first", unauthenticated(options))
	case strings.HasPrefix(m[2], "http:") && key == "" && !signed:
		return Source{}, errors.New("it has no key, and http does not protect the packages: put the archive's armoured key on the lines after it, or name a keyring of the machines with signed-by, or use https")
	}
	return Source{Line: first, Key: key}, nil
}

// option is one option of a line. apt also takes quotes and %XX there, under which another
// option may hide.
var option = regexp.MustCompile(`^([A-Za-z-]+?)[+-]?=([A-Za-z0-9._,/:~-]+)$`)

// parseOptions reads what a line has in brackets. apt ignores options that it does not know.
func parseOptions(text string) (map[string]string, error) {
	options := map[string]string{}
	for _, field := range strings.Fields(text) {
		m := option.FindStringSubmatch(field)
		if m == nil {
			return nil, fmt.Errorf("%q is not an option of a line: expected NAME=VALUE as in sources.list(5), without quotes and without %%", shortened(field))
		}
		options[strings.ToLower(m[1])] = m[2]
	}
	return options, nil
}

// unauthenticated returns an option that has apt install what no key has signed; "" if there
// is none (sources.list(5), apt-secure(8)).
func unauthenticated(options map[string]string) string {
	for _, name := range []string{"trusted", "allow-insecure", "allow-weak", "allow-downgrade-to-insecure"} {
		if value, has := options[name]; has && strings.ToLower(value) != "no" {
			return name
		}
	}
	return ""
}

func shortened(text string) string {
	if len(text) > 80 {
		return strings.ToValidUTF8(text[:80], "") + "…"
	}
	return text
}

// String names the source in one line.
func (s Source) String() string {
	switch {
	case s.PPA != "":
		return s.PPA
	case s.Line != "":
		return s.Line
	}
	return "what the machine has"
}

// Proxies returns the variables (NAME=VALUE) that make add-apt-repository use the model's
// proxies. It does not read APT's settings, and in hooks Juju names them JUJU_CHARM_HTTP_PROXY,
// JUJU_CHARM_HTTPS_PROXY and JUJU_CHARM_NO_PROXY. get is os.Getenv outside tests.
func Proxies(get func(string) string) []string {
	var all []string
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value := get("JUJU_CHARM_" + strings.ToUpper(name)); value != "" {
			all = append(all, name+"="+value, strings.ToUpper(name)+"="+value)
		}
	}
	return all
}

// Sources is the machine's list of sources, as far as it is ours: what carries Name.
type Sources struct {
	Run  command.Runner
	Root string // "/" outside tests
	Name string // of the file; it begins with dcib-
}

func (l Sources) list() string {
	return filepath.Join(l.Root, "etc/apt/sources.list.d", l.Name+".list")
}

// keyring is where a key goes, by what it is: apt takes an archive that two of its files name
// with one key only by one path.
func (l Sources) keyring(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(l.Root, keyrings, "dcib-"+hex.EncodeToString(sum[:8])+".asc")
}

const keyrings = "etc/apt/keyrings"

// files returns the content that our files should have; "" for one that should not be.
func (l Sources) files(s Source) map[string]string {
	files := map[string]string{l.list(): ""}
	if s.Line == "" {
		return files
	}
	text := s.Line
	if s.Key != "" {
		keyring := l.keyring(s.Key)
		files[keyring] = s.Key + "\n"
		m := line.FindStringSubmatchIndex(text)
		signed := "signed-by=/" + keyrings + "/" + filepath.Base(keyring)
		if m[2] >= 0 { // it has options
			text = text[:m[2]] + signed + " " + text[m[2]:]
		} else {
			text = "deb [" + signed + "]" + strings.TrimPrefix(text, "deb")
		}
	}
	files[l.list()] = text + "\n"
	return files
}

// Has reports whether the machine has that source.
func (l Sources) Has(s Source) bool {
	for path, want := range l.files(s) {
		if has, err := os.ReadFile(path); err != nil && want != "" || string(has) != want {
			return false
		}
	}
	m := ppa.FindStringSubmatch(s.PPA)
	if m == nil {
		return true
	}
	// As software-properties names it: maas-ubuntu-3_7-noble.sources.
	name := m[1] + "-ubuntu-" + strings.ReplaceAll(m[2], ".", "_") + "-*"
	found, _ := filepath.Glob(filepath.Join(l.Root, "etc/apt/sources.list.d", name))
	return len(found) > 0
}

// Set returns the machine that source. An earlier one of ours goes; a PPA, which may be
// another client's too, stays. Errors are as those of Install.
func (l Sources) Set(ctx context.Context, s Source) error {
	if s.PPA != "" && !l.Has(Source{PPA: s.PPA}) {
		ctx, cancel := within(ctx, "add-apt-repository", Timeout)
		defer cancel()
		if _, err := l.Run.Run(ctx, "add-apt-repository", "-y", "--no-update", s.PPA); err != nil {
			return status(err)
		}
	}
	for path, want := range l.files(s) {
		if want == "" {
			if err := atomicfile.Remove(path); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return status(err)
		}
		if err := atomicfile.Write(path, []byte(want), atomicfile.Options{Mode: 0o644}); err != nil {
			return status(err)
		}
	}
	return l.tidy()
}

// tidy removes keys of ours that no list of ours names any more; another application's on
// the machine may.
func (l Sources) tidy() error {
	lists, err := filepath.Glob(filepath.Join(l.Root, "etc/apt/sources.list.d/dcib-*.list"))
	if err != nil {
		return err
	}
	var named strings.Builder
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		named.Write(text)
	}
	keys, err := filepath.Glob(filepath.Join(l.Root, keyrings, "dcib-*.asc"))
	if err != nil {
		return err
	}
	for _, path := range keys {
		if !strings.Contains(named.String(), filepath.Base(path)) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
