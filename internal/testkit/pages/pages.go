// Package pages reads tables of the project's documentation, so that tests hold them against the code.
package pages

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// OpenedPorts returns the ports that the page of ports (docs/reference/ports.md, at path) states that a
// charm opens in Juju, as open-port takes them ("8443/tcp", "5250-5270/tcp"). A row names charms and
// ports with commas between them. The test ends where the page has no such table.
func OpenedPorts(t testing.TB, path, charm string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("cannot read the page of ports: %v", err)
	}
	var ports, columns []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case slices.Contains(cells, "charm") && slices.Contains(cells, "opened"):
			columns = cells
		case len(cells) != len(columns) || columns == nil:
		case cells[slices.Index(columns, "opened")] == "yes" && slices.Contains(strings.Split(cells[slices.Index(columns, "charm")], ", "), charm):
			ports = append(ports, strings.Split(cells[slices.Index(columns, "port")], ", ")...)
		}
	}
	if columns == nil {
		t.Fatalf("cannot find the table of ports in %s: wanted one with the columns charm, port and opened", path)
	}
	return ports
}
