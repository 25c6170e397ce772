package pack

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// noticeFile is the file of an archive that has the licences of the C libraries that are
// linked into its programs.
const noticeFile = "NOTICE"

// copyrights is where Debian's packages have their licences, which name common ones by their
// path (Debian policy 12.5).
const copyrights = "usr/share/doc"

var commonLicence = regexp.MustCompile(`/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]`)

// notice returns the NOTICE of a charm: the copyright file, below root, of each C library that
// a static program of it links, and the licences that these name; nil when none links one. The
// libraries are the development packages among the build-packages of parts that set
// CGO_ENABLED=1.
func notice(root string, parts []Part) ([]byte, error) {
	var libraries []string
	for _, part := range parts {
		env := map[string]string{}
		for _, vars := range part.BuildEnvironment {
			maps.Copy(env, vars)
		}
		if env["CGO_ENABLED"] != "1" {
			continue
		}
		for _, name := range part.BuildPackages {
			if strings.HasPrefix(name, "lib") && strings.HasSuffix(name, "-dev") {
				libraries = append(libraries, name)
			}
		}
	}
	if len(libraries) == 0 {
		return nil, nil
	}
	slices.Sort(libraries)
	var text bytes.Buffer
	text.WriteString("Programs of this charm are linked statically with these libraries of Debian or Ubuntu.\nTheir licences follow, as the packages have them.\n")
	for _, name := range slices.Compact(libraries) {
		path := filepath.Join(root, copyrights, name, "copyright")
		licence, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cannot find the licence of %s, which is linked: expected it in %s: install the package with its documentation", name, path)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the licence of %s: %w", name, err)
		}
		fmt.Fprintf(&text, "\n==== %s ====\n\n%s\n", name, bytes.TrimSpace(licence))
	}
	named := commonLicence.FindAllString(text.String(), -1)
	slices.Sort(named)
	for _, path := range slices.Compact(named) {
		licence, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return nil, fmt.Errorf("cannot read a licence that is named by what is linked: %w: install the package base-files", err)
		}
		fmt.Fprintf(&text, "\n==== %s ====\n\n%s\n", path, bytes.TrimRight(licence, "\n"))
	}
	return text.Bytes(), nil
}
