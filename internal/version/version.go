// Package version holds the version of the programs of this project.
package version

import (
	"fmt"
	"io"
	"runtime/debug"
)

// Symbol is the variable that the linker sets to the version, with -X Symbol=VERSION.
const Symbol = "github.com/dcib/dcib/internal/version.stamped"

// stamped is set by the linker.
var stamped string

// String returns the version of the running program: as the linker set it, otherwise the
// commit that Go's own stamp names, otherwise "unknown".
func String() string {
	if stamped != "" {
		return stamped
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return ofCommit(info.Settings)
	}
	return ofCommit(nil)
}

// commitLength is how many digits of a commit are shown.
const commitLength = 12

func ofCommit(settings []debug.BuildSetting) string {
	commit, changed := "unknown", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision" && s.Value != "":
			commit = s.Value[:min(len(s.Value), commitLength)]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "-dirty"
		}
	}
	return commit + changed
}

// Asked reports whether a program was called with the one argument --version. It has printed
// the version then, and the program is done.
func Asked(out io.Writer, program string, args []string) bool {
	if len(args) != 1 || args[0] != "--version" {
		return false
	}
	fmt.Fprintln(out, program, "version", String())
	return true
}
