package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dcib/dcib/internal/document"
)

// shownProblem is what is wrong with a text, as programs read it.
type shownProblem struct {
	Line int    `json:"line"`
	Path string `json:"path"`
	Says string `json:"says"`
	Want string `json:"want,omitempty"`
}

// refused returns the error of a text that cannot be used, with each problem on a line of its
// own. With JSON the problems are printed as a list, and the error has their number.
func refused(out io.Writer, format, what string, err error) error {
	var problems document.Problems
	if !errors.As(err, &problems) {
		return fmt.Errorf("cannot use %s: %w", what, err)
	}
	if format != "json" {
		return fmt.Errorf("cannot use %s:\n  %s", what, strings.Join(problems.Lines(), "\n  "))
	}
	shown := []shownProblem{}
	for _, p := range problems {
		shown = append(shown, shownProblem(p))
	}
	to := json.NewEncoder(out)
	to.SetIndent("", "  ")
	to.SetEscapeHTML(false)
	if err := to.Encode(shown); err != nil {
		return fmt.Errorf("cannot print: %w", err)
	}
	return fmt.Errorf("cannot use %s: %d problem(s)", what, len(problems))
}
