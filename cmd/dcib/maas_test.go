package main

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dcib/dcib/internal/testkit/maas"
)

// setUpMAAS starts for each script a stand-in for MAAS with four machines, and lets it in.
func setUpMAAS(e *testscript.Env) {
	region := &maastest.Region{
		Version: "3.7.3", Keys: []string{"consumer1:token2:secret3"},
		Subnets: []maastest.Subnet{{ID: 1, CIDR: "10.0.0.0/24", VLAN: 5001}},
	}
	for n, status := range []string{"Ready", "Ready", "New", "Deployed"} {
		region.Machines = append(region.Machines, maastest.Machine{
			SystemID: fmt.Sprintf("id%d", n+1), Hostname: fmt.Sprintf("node%d", n+1), Status: status,
			Interfaces: []maastest.Interface{{ID: n*10 + 1, Name: "eno1", VLAN: 5001, Links: []maastest.Link{{ID: n*10 + 1, Mode: "auto", Subnet: 1}}}},
			Disks:      []maastest.Disk{{ID: n*10 + 1, Name: "sda", Size: 100e9}},
		})
	}
	server := httptest.NewServer(region)
	e.Defer(server.Close)
	e.Values["maas"] = region
	e.Setenv(envMAASURL, server.URL+"/MAAS")
	e.Setenv(envMAASKey, region.Keys[0])
}

// maasCmd is what another client does in MAAS, and sees there: status NAME STATUS, finish NAME
// (what it is in the middle of), tags, machines, changes.
func maasCmd(ts *testscript.TestScript, not bool, args []string) {
	region := ts.Value("maas").(*maastest.Region)
	if not || len(args) == 0 {
		ts.Fatalf("usage: maas status|finish|tags|machines|changes")
	}
	if args[0] == "finish" {
		region.Finish(args[1])
		return
	}
	region.Between(func() { lookAtMAAS(ts, region, args) })
}

func lookAtMAAS(ts *testscript.TestScript, region *maastest.Region, args []string) {
	switch {
	case args[0] == "status":
		for i := range region.Machines {
			if region.Machines[i].Hostname == args[1] {
				region.Machines[i].Status = strings.Join(args[2:], " ")
			}
		}
	case args[0] == "tags":
		for _, name := range slices.Sorted(maps.Keys(region.Tags)) {
			fmt.Fprintln(ts.Stdout(), name, region.Tags[name], region.TagInfo[name])
		}
	case args[0] == "machines":
		for _, m := range region.Machines {
			fmt.Fprint(ts.Stdout(), m.Hostname, " ", m.Status, " ", m.Series, " ", m.UserData)
			for _, i := range m.Interfaces {
				fmt.Fprint(ts.Stdout(), " ", i.Name, i.Parents)
			}
			fmt.Fprintln(ts.Stdout())
		}
	case args[0] == "changes":
		fmt.Fprintln(ts.Stdout(), strings.Join(region.Changes, "\n"))
	}
}

// The how-to runs as it is written, and shows what is shown.
func TestHowToMAAS(t *testing.T) {
	text, err := os.ReadFile("../../docs/how-to/maas.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Machines\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var script strings.Builder
	commands, shown := 0, 0
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch mark, _, _ := strings.Cut(line, " "); {
		case strings.HasPrefix(line, "dcib maas "):
			commands++
			fmt.Fprintln(&script, line)
		case mark == "done" || mark == "note":
			shown++
			fmt.Fprintf(&script, "stdout '^%s$'\n", strings.NewReplacer("(", `\(`, ")", `\)`, ".", `\.`).Replace(line))
		}
	}
	if commands < 4 || shown < 4 {
		t.Fatalf("%d commands and %d lines of what they show are not the whole how-to", commands, shown)
	}
	script.WriteString("-- maas.key --\nconsumer1:token2:secret3\n")
	name := filepath.Join(t.TempDir(), "maas.txtar")
	if err := os.WriteFile(name, []byte(script.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{Files: []string{name}, Setup: func(e *testscript.Env) error {
		setUpMAAS(e)
		e.Setenv(envMAASKey, "")
		region := e.Values["maas"].(*maastest.Region)
		region.Between(func() {
			region.Machines[0].Disks[0].Partitions = []maastest.Partition{{Size: 90e9, Filesystem: "lvm-pv"}}
			region.Machines[0].Disks = append(region.Machines[0].Disks, maastest.Disk{ID: 99, Name: "vgroot-lvroot", Virtual: true, Size: 90e9, Filesystem: "ext4", Mount: "/"})
		})
		return os.CopyFS(filepath.Join(e.WorkDir, "docs", "examples"), os.DirFS("../../docs/examples"))
	}})
}
